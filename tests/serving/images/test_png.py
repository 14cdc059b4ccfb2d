import warnings
import zlib
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.errors import ImageError
from serving.images.png import open_png
from tests.serving.images import reference_png
from tests.serving.images.files import (
    END,
    SIGNATURE,
    array,
    by_pillow,
    chunk,
    encoded,
    exif,
    header,
    noise,
    photo,
    png,
    refused,
    row_lengths,
)

KINDS = [(depth, colour) for colour, depths in reference_png.DEPTHS.items() for depth in depths]
KEYED = [(depth, colour) for depth, colour in KINDS if colour in (0, 2)]


def ours(data: bytes) -> np.ndarray | None:
    """The pixels of a PNG; None of one that is refused."""
    try:
        return array(open_png(data).decode(None))
    except ImageError as error:
        refused(error)
        return None


def by_reference(data: bytes) -> list[list[reference_png.Pixel]] | None:
    try:
        return reference_png.decode(data)
    except reference_png.NotAPngError:
        return None


def assert_as_the_reference(data: bytes) -> bool:
    """Hold a file against the reference; return whether it is a PNG at all."""
    found, expected = ours(data), by_reference(data)
    assert (found is None) == (expected is None)
    if found is None or expected is None:
        return False
    assert found.shape == (len(expected), len(expected[0]), 3)
    for pixel, wanted in zip(found.reshape(-1, 3), (p for row in expected for p in row), strict=True):
        for value, exact in zip(pixel.tolist(), wanted, strict=True):
            # Partial transparency is rounded; all else is exact.
            assert value == exact if exact.denominator == 1 else abs(value - exact) <= Fraction(1)
    return True


@st.composite
def pngs(draw: st.DrawFn) -> bytes:
    """PNGs of every kind, with random rows, palettes, transparency and other chunks beside them."""
    depth, colour = draw(st.sampled_from(KINDS))
    width, height, interlaced = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(0, 1))
    rows = b"".join(
        bytes([draw(st.integers(0, 4))]) + draw(st.binary(min_size=length - 1, max_size=length - 1))
        for length in row_lengths(width, height, depth, colour, interlaced)
    )
    before = []
    if colour == 3 or draw(st.booleans()):
        entries = draw(st.integers(1, 2**depth if colour == 3 else 3))
        before.append(chunk(b"PLTE", draw(st.binary(min_size=3 * entries, max_size=3 * entries))))
    if draw(st.booleans()):
        before.append(
            chunk(b"tRNS", draw(transparencies(depth, colour, len(before[-1]) // 3 - 4 if before else 0)))
        )
    if draw(st.booleans()):
        before.append(draw(ancillary))
    stream = zlib.compress(rows, draw(st.sampled_from([0, 1, 9]))) + draw(st.binary(max_size=3))
    cut = draw(st.integers(0, len(stream)))
    pixels = [chunk(b"IDAT", stream[:cut]), chunk(b"IDAT", stream[cut:])]
    after = [draw(ancillary)] if draw(st.booleans()) else []
    head = header(width, height, depth, colour, interlaced)
    return SIGNATURE + head + b"".join(before + pixels + after) + END + draw(st.binary(max_size=3))


def transparencies(depth: int, colour: int, entries: int) -> st.SearchStrategy[bytes]:
    if colour == 3:
        return st.binary(max_size=max(1, entries))
    words = st.integers(0, 2**depth - 1) | st.integers(0, 2**16 - 1)
    fitting = {0: 1, 2: 3}.get(colour)
    if fitting is None:
        return st.binary(max_size=7)
    return st.lists(words, min_size=fitting, max_size=fitting).map(
        lambda found: b"".join(word.to_bytes(2, "big") for word in found)
    ) | st.binary(max_size=7)


ancillary = st.builds(
    lambda name, body, checksum: chunk(name, body, checksum=checksum),
    st.sampled_from(
        [
            b"gAMA",
            b"cHRM",
            b"sRGB",
            b"iCCP",
            b"tEXt",
            b"zTXt",
            b"iTXt",
            b"eXIf",
            b"pHYs",
            b"tIME",
            b"oFFs",
            b"abCd",
        ]
    ),
    st.binary(max_size=12),
    st.sampled_from([0, 0, 1]),
)


@pytest.mark.fuzz
@given(pngs())
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_every_png_has_the_references_pixels(data: bytes) -> None:
    assert assert_as_the_reference(data)


def with_checksums(data: bytes) -> bytes:
    """Make the checksums of a file's chunks right again, as far as its chunks can be told."""
    out, start = data[:8], 8
    while start + 12 <= len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        if start + 12 + length > len(data):
            break
        out += chunk(data[start + 4 : start + 8], data[start + 8 : start + 8 + length])
        start += 12 + length
    return out + data[start:]


@pytest.mark.fuzz
@given(pngs(), st.data())
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_spoilt_pngs_are_refused_where_the_reference_refuses(data: bytes, draws: st.DataObject) -> None:
    spoilt = bytearray(data)
    for _ in range(draws.draw(st.integers(1, 3))):
        # Not in width and height: the reference has no limit on them.
        place = draws.draw(st.integers(0, 15) | st.integers(24, len(spoilt) - 1))
        spoilt[place] = draws.draw(st.integers(0, 255))
    cut = bytes(spoilt[: draws.draw(st.integers(0, len(spoilt)) | st.just(len(spoilt)))])
    if not cut.startswith(SIGNATURE):
        return
    mended = with_checksums(cut) if draws.draw(st.booleans()) else cut
    assert_as_the_reference(mended)


@pytest.mark.fuzz
@given(pngs())
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_pillow_agrees_where_it_reads_what_the_file_says(data: bytes) -> None:
    """All but colour keys of other than 8 bits, partial rows of IDAT and metadata that it stumbles on."""
    found = ours(data)
    assert found is not None
    if b"tRNS" in data:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs = by_pillow(data)
        except Exception:  # metadata refuse pixels there
            return
    depth, colour = data[24], data[25]
    if (depth, colour) == (16, 0):
        return  # its conversion clips at 255
    np.testing.assert_array_equal(found, theirs)


@pytest.mark.parametrize(("depth", "colour"), KEYED)
@pytest.mark.parametrize("interlaced", [0, 1])
def test_the_colour_key_is_compared_at_the_stored_depth(depth: int, colour: int, interlaced: int) -> None:
    random = np.random.default_rng(depth + colour)
    lengths = row_lengths(8, 8, depth, colour, interlaced)
    rows = b"".join(b"\0" + random.bytes(length - 1) for length in lengths)
    first = reference_png.take(rows[1 : lengths[0]], 0, depth, reference_png.CHANNELS[colour])
    key = b"".join(value.to_bytes(2, "big") for value in first)
    data = png(8, 8, depth, colour, rows, chunk(b"tRNS", key), interlaced=interlaced)
    assert assert_as_the_reference(data)
    assert (array(open_png(data).decode(None))[0, 0] == 255).all()


def test_of_16_bits_only_the_key_itself_is_transparent() -> None:
    """Two pixels with one high byte: compared after cutting to 8 bits, both would turn white."""
    rows = b"\0" + bytes.fromhex("102030405060102130405060")
    data = png(2, 1, 16, 2, rows, chunk(b"tRNS", bytes.fromhex("102030405060")))
    assert array(open_png(data).decode(None)).tolist() == [[[255, 255, 255], [0x10, 0x30, 0x50]]]


WHOLE = png(4, 3, 8, 2, b"".join(b"\0" + bytes(range(12)) for _ in range(3)))


@pytest.mark.parametrize("length", range(8, len(WHOLE)))
def test_every_beginning_of_a_file_is_refused(length: int) -> None:
    with pytest.raises(ImageError, match="truncated or broken"):
        open_png(WHOLE[:length]).decode(None)


@pytest.mark.parametrize("rows", [b"", b"\0" * 13, b"\0" * 38])
def test_a_sound_file_with_too_few_rows_is_refused(rows: bytes) -> None:
    with pytest.raises(ImageError, match="expected 39 bytes of pixels, found"):
        open_png(png(4, 3, 8, 2, rows)).decode(None)


def test_a_stream_that_is_cut_within_a_sound_chunk_is_refused() -> None:
    stream = zlib.compress(bytes(39))
    for length in range(len(stream) - 4):  # The last four bytes are its checksum.
        data = SIGNATURE + header(4, 3, 8, 2) + chunk(b"IDAT", stream[:length]) + END
        assert ours(data) is None or length >= len(stream) - 6


def test_bytes_beyond_the_rows_and_beyond_the_end_are_let_be() -> None:
    rows = b"".join(b"\0" + bytes(range(12)) for _ in range(3))
    found = ours(png(4, 3, 8, 2, rows + b"\0" * 1000) + b"more")
    np.testing.assert_array_equal(found, ours(WHOLE))


@pytest.mark.parametrize("name", [b"IHDR", b"PLTE", b"IDAT", b"IEND"])
def test_a_wrong_checksum_in_a_critical_chunk_is_named(name: bytes) -> None:
    data = png(2, 1, 8, 3, b"\0\0\1", chunk(b"PLTE", bytes(range(6))))
    start = data.index(name)
    end = start + 4 + int.from_bytes(data[start - 4 : start], "big")
    spoilt = data[:end] + bytes([data[end] ^ 1]) + data[end + 1 :]
    with pytest.raises(ImageError, match=name.decode()):
        open_png(spoilt).decode(None)


@pytest.mark.parametrize(
    "beside",
    [
        chunk(b"gAMA", b"\0\0\xb1\x8f", checksum=1),
        chunk(b"tRNS", bytes(6), checksum=1),
        chunk(b"eXIf", b"\xff" * 9),
        chunk(b"eXIf", exif(6)[6:-4]),
        chunk(b"gAMA", b""),
        chunk(b"cHRM", b"1"),
        chunk(b"sRGB", b""),
        chunk(b"pHYs", b""),
        chunk(b"acTL", b"\0\0"),
        chunk(b"acTL", bytes(8)),
        chunk(b"fcTL", b"\0"),
        chunk(b"iCCP", b"profile"),
        chunk(b"iCCP", b"profile\0\7no such method"),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(3 << 20))),
        chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(3 << 20))),
        chunk(b"zTXt", b"key\0\7"),
        chunk(b"iTXt", b"key\0\1\0\0\0" + zlib.compress(bytes(3 << 20))),
        chunk(b"tEXt", b"key\0" + bytes(70 << 20)),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 4\nxyz"),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(3 << 20))),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0"),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0broken"),
        chunk(b"sBIT", bytes(50)),
        chunk(b"tRNS", bytes(5)),
    ],
)
def test_what_lies_beside_the_pixels_does_not_refuse_them(beside: bytes) -> None:
    split = 8 + 25
    for data in (WHOLE[:split] + beside + WHOLE[split:], WHOLE[:-12] + beside + WHOLE[-12:]):
        np.testing.assert_array_equal(ours(data), ours(WHOLE))


def raw_profile(data: bytes) -> bytes:
    lines = "\n".join(("", "exif", f"{len(data):8}", data.hex(), ""))
    return b"Raw profile type exif\0\0" + zlib.compress(lines.encode())


XMP = b'<rdf:Description tiff:Orientation="8"/>'


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        (chunk(b"eXIf", exif(6)[6:]), 6),
        (chunk(b"zTXt", raw_profile(exif(3))), 3),
        (chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP), 8),
        (chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)), 8),
        (chunk(b"eXIf", exif(6)[6:], checksum=1), 1),
    ],
)
@pytest.mark.parametrize("behind", [False, True])
def test_the_orientation_is_found_wherever_programs_put_it(
    beside: bytes, expected: int, behind: bool
) -> None:
    place = len(WHOLE) - 12 if behind else 33
    assert open_png(WHOLE[:place] + beside + WHOLE[place:]).orientation == expected


@pytest.mark.parametrize(
    ("count", "controlled", "frames"), [(1, True, 1), (1, False, 2), (2, True, 2), (3, False, 4)]
)
def test_frames_are_counted_with_the_picture_that_stands_before_them(
    count: int, controlled: bool, frames: int
) -> None:
    animation = chunk(b"acTL", count.to_bytes(4, "big") + bytes(4))
    control = chunk(b"fcTL", bytes(26)) if controlled else b""
    assert open_png(WHOLE[:33] + animation + control + WHOLE[33:]).frames == frames


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (SIGNATURE + chunk(b"IDAT", b"") + END, "IHDR"),
        (SIGNATURE + END, "IHDR"),
        (WHOLE[:33] + chunk(b"CgBI", bytes(4)) + WHOLE[33:], "CgBI"),
        (WHOLE[:33] + WHOLE[8:], "IHDR"),
        (WHOLE[:33] + END, "no pixels"),
        (WHOLE[:33] + bytes(4) + b"1234" + bytes(4) + WHOLE[33:], "no name"),
        (png(1, 1, 8, 3, b"\0\0"), "no palette"),
        (png(1, 1, 8, 3, b"\0\0", chunk(b"PLTE", bytes(4))), "1 to 256 colours"),
        (png(1, 1, 8, 3, b"\0\0", chunk(b"PLTE", bytes(3)), chunk(b"PLTE", bytes(3))), "PLTE"),
        (png(1, 1, 8, 2, b"\5\0\0\0"), "unknown filter"),
        (png(1, 1, 3, 2, b"\0\0\0\0"), "no colour type 2 has 3 bits"),
        (png(0, 1, 8, 2, b""), "0x1"),
        (SIGNATURE + header(1, 1, 8, 2) + chunk(b"IDAT", b"no stream") + END, "inflated"),
    ],
)
def test_refusals_say_what_is_wrong(data: bytes, names: str) -> None:
    with pytest.raises(ImageError, match=names):
        open_png(data).decode(None)


@pytest.mark.parametrize("make", [noise, photo])
@pytest.mark.parametrize("size", [(1, 1), (300, 7), (64, 64)])
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"compress_level": 0}])
def test_what_pillow_writes_comes_back(
    make: Callable[..., object], size: tuple[int, int], options: dict[str, int]
) -> None:
    image = make(*size)
    np.testing.assert_array_equal(ours(encoded(image, **options)), array(image))  # type: ignore[arg-type]
