from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.errors import ImageError
from serving.images.jpeg import open_jpeg
from serving.images.jpeg_segments import MAX_SCANS, read_parts
from tests.serving.images.files import array, by_pillow, encoded, exif, noise, photo, refused, same

END = b"\xff\xd9"
JUNK = b"\x11" * 200


def jpeg(mode: str = "RGB", size: tuple[int, int] = (45, 37), **options: Any) -> bytes:
    return encoded(photo(*size).convert(mode), "JPEG", **options)


def ours(data: bytes, shorter_side: int | None = None) -> np.ndarray | None:
    """The pixels of a JPEG; None of one that is refused."""
    try:
        return array(open_jpeg(data).decode(shorter_side))
    except ImageError as error:
        refused(error)
        return None


def scan_start(data: bytes) -> int:
    """Where the first scan's entropy-coded bytes begin."""
    start = data.index(b"\xff\xda")
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")


KINDS = {
    "baseline": jpeg(),
    "progressive": jpeg(progressive=True),
    "optimised": jpeg(optimize=True),
    "restarts": jpeg(restart_marker_blocks=3),
    "grey": jpeg("L"),
    "grey-progressive": jpeg("L", progressive=True),
    "cmyk": jpeg("CMYK"),
    "whole-chroma": jpeg(subsampling=0),
    "half-chroma": jpeg(subsampling=1),
    "rgb": jpeg(keep_rgb=True),
    "cmyk-subsampled": jpeg("CMYK", subsampling=2),
    "cmyk-subsampled-restarts": jpeg("CMYK", subsampling=2, restart_marker_blocks=2),
    "cmyk-subsampled-progressive": jpeg("CMYK", subsampling=2, progressive=True),
    "noise": encoded(noise(40, 40), "JPEG", quality=95),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_pillows_pixels(kind: str) -> None:
    np.testing.assert_array_equal(ours(KINDS[kind]), by_pillow(KINDS[kind]))


@pytest.mark.fuzz
@given(
    st.sampled_from(["RGB", "L", "CMYK"]),
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 100),
    st.sampled_from([0, 1, 2]),
    st.booleans(),
    st.integers(0, 4),
    st.sampled_from([None, 1, 3, 8, 20]),
)
def test_pillow_agrees_at_every_size_and_scale(
    mode: str,
    width: int,
    height: int,
    quality: int,
    subsampling: int,
    progressive: bool,
    restart: int,
    side: int | None,
) -> None:
    data = encoded(
        photo(width, height).convert(mode),
        "JPEG",
        quality=quality,
        subsampling=subsampling,
        progressive=progressive,
        restart_marker_blocks=restart,
    )
    with Image.open(BytesIO(data)) as image:
        if side is not None and min(width, height) >= 16:
            image.draft(None, (side, side))
        np.testing.assert_array_equal(ours(data, side), array(image.convert("RGB")))


@pytest.mark.parametrize("kind", KINDS)
def test_every_beginning_of_a_file_is_refused(kind: str) -> None:
    data = KINDS[kind]
    for length in range(3, len(data)):
        assert ours(data[:length]) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_scan_that_ends_early_is_refused_although_the_end_mark_is_there(kind: str) -> None:
    data = KINDS[kind]
    whole, refused = ours(data), 0
    for length in range(scan_start(data), len(data) - 2):
        found = ours(data[:length] + END)
        refused += found is None
        assert found is None or same(found, whole)  # Only padding was cut off.
    assert refused >= (len(data) - 2 - scan_start(data)) * 0.9


@pytest.mark.fuzz
@given(st.sampled_from(sorted(kind for kind in KINDS if "progressive" not in kind)), st.data())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_what_is_missing_within_a_scan_never_passes_for_grey(kind: str, data: st.DataObject) -> None:
    whole = KINDS[kind]
    start = data.draw(st.integers(scan_start(whole), len(whole) - 3))
    cut = whole[:start] + whole[data.draw(st.integers(start + 1, len(whole) - 2)) :]
    found = ours(cut)
    if found is not None:
        # Bytes out of the middle may leave codes that make sense; then none may be missing at the end.
        assert found.shape == by_pillow(whole).shape


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_left_over_behind_a_scan_are_let_be(kind: str) -> None:
    data = KINDS[kind]
    surplus = data[:-2] + JUNK + END + b"more"
    np.testing.assert_array_equal(ours(surplus), ours(data))


@pytest.mark.parametrize("kind", ["progressive", "grey-progressive", "cmyk-subsampled-progressive"])
def test_bytes_left_over_behind_every_scan_are_let_be_and_what_is_missing_is_not(kind: str) -> None:
    parts = read_parts(KINDS[kind])
    surplus = tuple((tables, codes + JUNK) for tables, codes in parts.scans)
    np.testing.assert_array_equal(ours(replace(parts, scans=surplus).stream()), ours(KINDS[kind]))
    longest = max(range(len(surplus)), key=lambda scan: len(parts.scans[scan][1]))
    tables, codes = parts.scans[longest]
    cut = (*surplus[:longest], (tables, codes[: len(codes) // 2]), *surplus[longest + 1 :])
    early = replace(parts, scans=cut).stream()
    assert ours(early) is None


@pytest.mark.parametrize("kind", ["restarts", "cmyk-subsampled-restarts"])
def test_between_restarts_what_is_left_over_is_let_be_and_what_is_missing_is_not(kind: str) -> None:
    data = KINDS[kind]
    restart = data.index(b"\xff\xd1")
    np.testing.assert_array_equal(ours(data[:restart] + JUNK + data[restart:]), ours(data))
    assert ours(data[: restart - 5] + data[restart:]) is None


def without_last_scans(data: bytes, kept: int) -> bytes:
    """Cut a file between two scans, and give it an end mark."""
    parts = read_parts(data)
    return parts.start + b"".join(map(b"".join, parts.scans[:kept])) + END


@pytest.mark.parametrize("kind", ["progressive", "grey-progressive", "cmyk-subsampled-progressive"])
def test_a_progressive_file_that_lacks_its_last_scans_is_refused(kind: str) -> None:
    scans = len(read_parts(KINDS[kind]).scans)
    assert scans > 4
    for kept in range(1, scans):
        with pytest.raises(ImageError, match="ends before all of its scans"):
            open_jpeg(without_last_scans(KINDS[kind], kept))


def one_scan_each() -> bytes:
    """A sequential file whose components come one after the other, made of three grey ones."""
    planes = photo(45, 37).convert("YCbCr").split()
    greys = [read_parts(encoded(plane, "JPEG")) for plane in planes]
    tables = [b"".join(grey.scans[0]) for grey in greys]
    header = tables[0].index(b"\xff\xc0")
    size = tables[0][header + 4 : header + 9]
    frame = b"\xff\xc0\0\x11" + size + b"\3" + b"".join(bytes((name, 0x11, 0)) for name in (1, 2, 3))
    scans = []
    for name, table in enumerate(tables, 1):
        bare = table[:header] + (frame if name == 1 else b"") + table[header + 13 :]
        start = bare.index(b"\xff\xda")
        scans.append(bare[: start + 5] + bytes([name]) + bare[start + 6 :])
    return b"\xff\xd8" + b"".join(scans) + END


def test_a_file_that_lacks_the_scan_of_a_component_is_refused() -> None:
    whole = one_scan_each()
    np.testing.assert_array_equal(ours(whole), by_pillow(whole))
    assert np.ptp(array(open_jpeg(whole).decode(None)), axis=2).max() > 50  # It has colours.
    for kept in (1, 2):
        with pytest.raises(ImageError, match="ends before all of its scans"):
            open_jpeg(without_last_scans(whole, kept))


def test_a_film_behind_the_picture_refuses_nothing() -> None:
    """A phone's motion photo: by chance the film holds bytes that look like hundreds of scans."""
    data = KINDS["baseline"]
    np.testing.assert_array_equal(ours(data + b"\xff\xda\0\2" * 500), ours(data))


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    return data[:2] + bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body + data[2:]


@pytest.mark.parametrize(
    ("marker", "body"),
    [
        (0xE0, b"JF"),
        (0xE0, b"JFIF\0\7\7\0\0\1\0\1\0\0"),
        (0xE1, b"Exif\0\0"),
        (0xE1, b"Exif\0\0" + b"\xff" * 30),
        (0xE1, exif(6)[:-4]),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0"),
        (0xE2, b"ICC_PROFILE\0"),
        (0xE2, b"ICC_PROFILE\0\5\2rest"),
        (0xE2, b"MPF\0broken"),
        (0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff"),
        (0xED, b"Photoshop 3.0\0" + b"8BIM\4"),
        (0xED, b"Photoshop 3.0\0" + b"8BIM\3\xed\0\0\0\0\0\1x"),
        (0xEE, b"Adobe"),
        (0xEE, b"Adobe\0\x64\0\0\0\0\7"),
        (0xFE, b""),
    ],
)
@pytest.mark.parametrize("kind", ["baseline", "progressive"])
def test_what_lies_beside_the_pixels_does_not_refuse_them(kind: str, marker: int, body: bytes) -> None:
    data = with_segment(KINDS[kind], marker, body)
    np.testing.assert_array_equal(ours(data), ours(KINDS[kind]))
    # Nor does it hide that some are missing.
    assert ours(data[: len(data) // 2] + END) is None or kind == "progressive"


def test_stray_bytes_between_segments_are_let_be() -> None:
    data = KINDS["baseline"]
    start = data.index(b"\xff\xc0")
    np.testing.assert_array_equal(ours(data[:start] + b"\1\2\xff\xff" + data[start + 1 :]), ours(data))


@pytest.mark.parametrize("spectral", [b"\0\0\0", b"\0\x3f\x10"])
def test_a_wrong_spectral_selection_of_a_sequential_scan_is_let_be(spectral: bytes) -> None:
    data, start = KINDS["baseline"], scan_start(KINDS["baseline"])
    np.testing.assert_array_equal(ours(data[: start - 3] + spectral + data[start:]), ours(data))


def test_ycck_has_pillows_pixels() -> None:
    cmyk = KINDS["cmyk"]
    adobe = b"Adobe\0\x64\0\0\0\0"
    start = cmyk.index(adobe) + len(adobe)
    ycck = cmyk[:start] + b"\2" + cmyk[start + 1 :]
    assert not same(ours(ycck), ours(cmyk))
    np.testing.assert_array_equal(ours(ycck), by_pillow(ycck))


def test_of_several_pictures_the_primary_one_is_read() -> None:
    data = encoded(photo(30, 20), "MPO", save_all=True, append_images=[photo(8, 8)])
    np.testing.assert_array_equal(ours(data), ours(encoded(photo(30, 20), "JPEG")))
    assert ours(data[: data.index(b"\xff\xd8", 4) - 20] + data[data.index(b"\xff\xd8", 4) :]) is None


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (KINDS["baseline"][:-2], "truncated"),
        (KINDS["baseline"].replace(b"\xff\xc0", b"\xff\xc9"), "arithmetic"),
        (
            KINDS["baseline"].replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
            "8 bits a sample, found 12",
        ),
        (
            KINDS["baseline"].replace(b"\xff\xc0\0\x11\x08\0\x25", b"\xff\xc0\0\x11\x08\0\0"),
            "at least one pixel",
        ),
        (b"\xff\xd8\xff\xd9", "1, 3 or 4 components"),
        (b"\xff\xd8" + KINDS["baseline"][KINDS["baseline"].index(b"\xff\xc0") :][:19] + END, "no pixels"),
        (KINDS["baseline"].replace(b"\xff\xda", b"\xff\xc0", 1), "two headers|truncated"),
        (KINDS["baseline"].replace(b"\xff\xdb", b"\xff\xe7"), "truncated or broken"),
    ],
)
def test_refusals_say_what_is_wrong(data: bytes, names: str) -> None:
    with pytest.raises(ImageError, match=names):
        open_jpeg(data).decode(None)


def test_more_scans_than_any_encoder_writes_are_refused_before_they_cost_anything() -> None:
    data = KINDS["grey-progressive"]
    start = data.index(b"\xff\xda")
    with pytest.raises(ImageError, match=f"at most {MAX_SCANS} scans"):
        open_jpeg(data[:-2] + data[start:-2] * MAX_SCANS + END)


@given(st.sampled_from(sorted(KINDS)), st.data())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_spoilt_files_decode_or_are_image_errors(kind: str, data: st.DataObject) -> None:
    spoilt = bytearray(KINDS[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        spoilt[data.draw(st.integers(2, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    try:
        still = open_jpeg(bytes(spoilt))
        if still.size[0] * still.size[1] < 10_000:
            still.decode(None)
    except ImageError:
        pass
