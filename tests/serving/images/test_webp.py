import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.errors import ImageError
from serving.images.webp import open_webp
from tests.serving.images.files import array, by_pillow, encoded, exif, noise, photo, refused, same


def transparent() -> Image.Image:
    image = photo(33, 21).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((33, 21)))
    return image


KINDS = {
    "lossy": encoded(photo(33, 21), "WEBP"),
    "lossless": encoded(photo(33, 21), "WEBP", lossless=True),
    "noise": encoded(noise(20, 20), "WEBP", quality=95),
    "transparent": encoded(transparent(), "WEBP"),
    "transparent-lossless": encoded(transparent(), "WEBP", lossless=True),
    "extended": encoded(photo(33, 21), "WEBP", exif=exif(1), icc_profile=b"profile"),
    "one-frame": encoded(photo(33, 21), "WEBP", save_all=True, append_images=[photo(33, 21)], lossless=True),
}


def ours(data: bytes) -> np.ndarray | None:
    """The pixels of a WebP; None of one that is refused."""
    try:
        return array(open_webp(data).decode(None))
    except ImageError as error:
        refused(error)
        return None


def resized(data: bytes) -> bytes:
    """Have the container's header promise the length that there is."""
    return data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]


def with_chunks(data: bytes, **chunks: bytes) -> bytes:
    """Put an extended header before a simple file, and chunks behind its pixels."""
    width, height = open_webp(data).size
    flags = bytes([0x3C - 0x10, 0, 0, 0])
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    out = data[:12] + b"VP8X\x0a\0\0\0" + flags + size + data[12:]
    for name, body in chunks.items():
        out += name.ljust(4).encode() + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)
    return resized(out)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_pillows_pixels(kind: str) -> None:
    np.testing.assert_array_equal(ours(KINDS[kind]), by_pillow(KINDS[kind]))


@pytest.mark.parametrize("kind", KINDS)
def test_every_beginning_of_a_file_is_refused(kind: str) -> None:
    for length in range(12, len(KINDS[kind])):
        assert ours(KINDS[kind][:length]) is None


@pytest.mark.fuzz
@given(st.sampled_from(sorted(set(KINDS) - {"extended", "one-frame"})), st.data())
@settings(deadline=None)
def test_pixels_that_end_early_within_a_sound_container_are_refused(kind: str, data: st.DataObject) -> None:
    whole = KINDS[kind]
    name = next(name for name in (b"VP8L", b"VP8 ") if name in whole[12:])
    start = whole.index(name, 12)
    length = int.from_bytes(whole[start + 4 : start + 8], "little")
    kept = data.draw(st.integers(0, length - 1))
    cut = resized(
        whole[: start + 4]
        + kept.to_bytes(4, "little")
        + whole[start + 8 : start + 8 + kept]
        + b"\0" * (kept % 2)
    )
    found = ours(cut)
    assert found is None or same(found, ours(whole))


@pytest.mark.parametrize(
    "chunks",
    [
        {"EXIF": b""},
        {"EXIF": b"broken" * 9},
        {"EXIF": exif(6)[:-10]},
        {"ICCP": b"\0" * (2 << 20)},
        {"XMP": b"\xff\xfe"},
        {"abcd": b"1"},
    ],
)
@pytest.mark.parametrize("kind", ["lossy", "lossless"])
def test_what_lies_beside_the_pixels_does_not_refuse_them(kind: str, chunks: dict[str, bytes]) -> None:
    data = with_chunks(KINDS[kind], **chunks)
    np.testing.assert_array_equal(ours(data), ours(KINDS[kind]))
    assert open_webp(data).orientation == 1
    # A chunk that promises more than there is, behind the pixels.
    np.testing.assert_array_equal(ours(resized(data + b"EXIF\xff\0\0\0")), ours(KINDS[kind]))


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_the_orientation_is_read_from_exif_or_xmp(prefix: bytes) -> None:
    bare = exif(7).removeprefix(b"Exif\0\0")
    assert open_webp(with_chunks(KINDS["lossy"], EXIF=prefix + bare)).orientation == 7
    assert open_webp(with_chunks(KINDS["lossy"], XMP=b'tiff:Orientation="5"')).orientation == 5


@pytest.mark.parametrize("frames", [2, 3])
def test_frames_are_counted(frames: int) -> None:
    data = encoded(
        noise(8, 8), "WEBP", save_all=True, append_images=[noise(8, 8, seed) for seed in range(1, frames)]
    )
    assert open_webp(data).frames == frames


def header(body: bytes) -> bytes:
    return b"RIFF" + (22).to_bytes(4, "little") + b"WEBP" + body.ljust(18, b"\0")


@pytest.mark.parametrize("body", [b"", b"VP8X", b"VP8 \x0a\0\0\0", b"VP8L\x05\0\0\0\x2f", b"abcd\1\0\0\0"])
def test_headers_without_pixels_are_refused(body: bytes) -> None:
    assert ours(header(body)) is None


@given(st.sampled_from(sorted(KINDS)), st.data())
@settings(deadline=None)
def test_spoilt_files_decode_or_are_image_errors(kind: str, data: st.DataObject) -> None:
    spoilt = bytearray(KINDS[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        spoilt[data.draw(st.integers(12, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    try:
        still = open_webp(bytes(spoilt))
        if still.size[0] * still.size[1] < 10_000:
            still.decode(None)
    except ImageError:
        pass
