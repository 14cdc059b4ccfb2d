import warnings
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from serving.errors import ImageError
from tests.serving.images.files import array, by_pillow, encoded, exif, noise, photo, refused
from training.data.formats import EXTENSIONS, open_any

PALETTE = photo(23, 17).convert("P")
FILES = {
    "png": encoded(noise(23, 17)),
    "jpeg": encoded(photo(23, 17), "JPEG"),
    "webp": encoded(photo(23, 17), "WEBP"),
    "bmp": encoded(noise(23, 17), "BMP"),
    "gif": encoded(PALETTE, "GIF"),
    "tiff": encoded(noise(23, 17), "TIFF"),
    "tiff-deflate": encoded(noise(23, 17), "TIFF", compression="tiff_adobe_deflate"),
    "tiff-lzw": encoded(noise(23, 17), "TIFF", compression="tiff_lzw"),
    "tiff-jpeg": encoded(photo(23, 17), "TIFF", compression="jpeg"),
    "tiff-fax": encoded(noise(23, 17).convert("1"), "TIFF", compression="group4"),
    "ppm": encoded(noise(23, 17), "PPM"),
    "pbm": encoded(noise(23, 17).convert("1"), "PPM"),
    "avif": encoded(photo(23, 17), "AVIF"),
    "jpeg2000": encoded(noise(23, 17), "JPEG2000"),
}


def pixels(data: bytes) -> npt.NDArray[np.uint8]:
    return array(open_any(data).decode(None))


def tiff(levels: npt.NDArray[Any], **tags: int) -> bytes:
    """A grey TIFF without compression, written by hand where Pillow writes no such kind."""
    height, width = levels.shape
    entries = {
        256: width,
        257: height,
        258: 8 * levels.itemsize,
        259: 1,
        262: 1,
        273: 8,
        277: 1,
        278: height,
        279: levels.nbytes,
        339: {"u": 1, "i": 2, "f": 3}[levels.dtype.kind],
        **{int(tag[1:]): value for tag, value in tags.items()},
    }
    directory = len(entries).to_bytes(2, "little") + b"".join(
        tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little")
        for tag, value in sorted(entries.items())
    )
    body = levels.astype(levels.dtype.newbyteorder("<")).tobytes()
    return b"II*\0" + (8 + len(body)).to_bytes(4, "little") + body + directory + bytes(4)


@pytest.mark.parametrize("name", FILES)
def test_every_format_has_pillows_pixels(name: str) -> None:
    np.testing.assert_array_equal(pixels(FILES[name]), by_pillow(FILES[name]))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore")
def test_a_file_that_is_cut_off_is_refused(name: str) -> None:
    data = FILES[name]
    # JPEG 2000 and TIFF may end in bytes that no pixel needs.
    for length in range(0, len(data) - 1, 7):
        try:
            found = pixels(data[:length])
        except ImageError as error:
            refused(error)
        else:
            np.testing.assert_array_equal(found, pixels(data))


def with_shorter_strip(data: bytes, strip: int) -> bytes:
    """Take the last third of one strip of a little-endian TIFF away, as its directory tells it."""
    with Image.open(BytesIO(data)) as image:
        length: int = image.tag_v2[279][strip]  # type: ignore[attr-defined]
    start = data.index(b"\x17\1", int.from_bytes(data[4:8], "little"))  # the tag of the lengths
    count, place = (int.from_bytes(data[start + at : start + at + 4], "little") for at in (4, 8))
    size = {3: 2, 4: 4}[data[start + 2]]
    place = (start + 8 if count * size <= 4 else place) + strip * size
    return data[:place] + (length * 2 // 3).to_bytes(size, "little") + data[place + size :]


@pytest.mark.parametrize(
    ("compression", "strip"), [("jpeg", 0), ("jpeg", 1), ("group4", 0), ("tiff_lzw", 0), ("packbits", 0)]
)
def test_a_strip_that_ends_early_in_a_sound_tiff_is_refused(compression: str, strip: int) -> None:
    image = photo(203, 131) if compression == "jpeg" else noise(90, 60)
    data = encoded(image.convert("1") if compression == "group4" else image, "TIFF", compression=compression)
    np.testing.assert_array_equal(pixels(data), by_pillow(data))
    with pytest.raises(ImageError, match="truncated or broken"):
        pixels(with_shorter_strip(data, strip))


def test_a_scan_that_ends_early_within_a_strip_is_refused() -> None:
    data = encoded(photo(203, 131), "TIFF", compression="jpeg")
    with Image.open(BytesIO(data)) as image:
        start, length = image.tag_v2[273][0], image.tag_v2[279][0]  # type: ignore[attr-defined]
    middle = start + length // 2
    with pytest.raises(ImageError, match="truncated or broken"):
        pixels(data[:middle] + b"\xff\xd9" + data[middle + 2 :])


def test_fax_codes_that_show_no_end_are_refused_by_name() -> None:
    with pytest.raises(ImageError, match="group 3"):
        pixels(encoded(noise(23, 17).convert("1"), "TIFF", compression="group3"))


@pytest.mark.parametrize(("alphas", "white"), [([0, 0], False), ([0, 255], True)])
def test_a_bmp_whose_fourth_bytes_are_all_zero_is_not_transparent(alphas: list[int], white: bool) -> None:
    body = b"".join(bytes((30, 20, 10, alpha)) for alpha in alphas)
    masks = b"".join(mask.to_bytes(4, "little") for mask in (0xFF0000, 0xFF00, 0xFF, 0xFF000000))
    sizes = b"".join(number.to_bytes(4, "little") for number in (108, 2, 1, 1 | 32 << 16, 3, 8, 0, 0, 0, 0))
    head = b"BM" + b"".join(number.to_bytes(4, "little") for number in (130, 0, 122))
    found = pixels(head + sizes + masks + b"BGRs" + bytes(48) + body)
    assert found[0].tolist() == [[255] * 3 if white else [10, 20, 30], [10, 20, 30]]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "none of them|empty body"),
        (b"text", "none of them"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\0\0\0\x18ftypheic", "a HEIC image"),
        (tiff((np.arange(64).reshape(8, 8) / 64).astype(np.float16)), "a TIFF image, broken or of a kind"),
    ],
)
def test_other_formats_are_refused_by_name(data: bytes, kind: str) -> None:
    with pytest.raises(ImageError, match=kind) as caught:
        open_any(data)
    refused(caught.value)


RAMP = np.arange(64).reshape(8, 8)


@pytest.mark.parametrize(
    "levels",
    [
        (RAMP / 64).astype(np.float32),
        RAMP.astype(np.float32),
        RAMP.astype(np.int32),
        (RAMP << 26).astype(np.uint32),
        RAMP.astype(np.int16),
        RAMP.astype(np.int8),
    ],
)
def test_numbers_that_are_no_grey_levels_are_refused(levels: npt.NDArray[Any]) -> None:
    with pytest.raises(ImageError, match=r"at most 16 bits|truncated or broken"):
        open_any(tiff(levels))


@pytest.mark.parametrize("mode", ["F", "I"])
def test_what_pillow_writes_of_such_numbers_is_refused(mode: str) -> None:
    with pytest.raises(ImageError, match="does not say which number is white"):
        open_any(encoded(noise(8, 8).convert(mode), "TIFF"))


def test_a_portable_float_map_is_refused() -> None:
    with pytest.raises(ImageError, match="PPM does not say which number is white"):
        open_any(b"Pf\n2 2\n-1.0\n" + np.ones(4, np.float32).tobytes())


def test_sixteen_bits_keep_their_high_byte() -> None:
    levels = (RAMP * 1040).astype(np.uint16)
    np.testing.assert_array_equal(pixels(tiff(levels))[..., 0], levels >> 8)
    np.testing.assert_array_equal(pixels(tiff(levels, t262=0))[..., 0], 255 - (levels >> 8))
    grey = b"P5 8 8 65535\n" + levels.astype(">u2").tobytes()
    np.testing.assert_array_equal(pixels(grey)[..., 0], levels >> 8)


def test_twelve_bits_keep_the_highest_eight() -> None:
    levels = RAMP * 65
    bits = "".join(f"{level:012b}" for level in levels.ravel())
    packed = np.frombuffer(int(bits, 2).to_bytes(len(bits) // 8, "big"), np.uint8)
    data = tiff(packed.reshape(8, 12), t256=8, t258=12)
    np.testing.assert_array_equal(pixels(data)[..., 0], levels >> 4)


def test_white_is_zero_is_turned_over_at_every_depth() -> None:
    levels = (RAMP * 4).astype(np.uint8)
    np.testing.assert_array_equal(pixels(tiff(levels, t262=0))[..., 0], 255 - levels)


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_read(image_format: str) -> None:
    frames = [noise(8, 8, seed).quantize(16).convert("RGB") for seed in range(3)]
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = encoded(frames[0], image_format, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(pixels(data), array(frames[0]))


@pytest.mark.parametrize("image_format", ["TIFF", "AVIF", "JPEG", "PNG", "WEBP"])
def test_the_orientation_is_applied_once(image_format: str) -> None:
    from serving.images.decode import upright_rgb

    image = photo(23, 17)
    plain = upright_rgb(open_any(encoded(image, image_format)))
    turned = upright_rgb(open_any(encoded(image, image_format, exif=exif(6))))
    np.testing.assert_array_equal(array(turned), array(plain.transpose(Image.Transpose.ROTATE_270)))


def test_all_endings_are_of_formats_that_are_read() -> None:
    for image_format in EXTENSIONS:
        name = {"WebP": "WEBP"}.get(image_format, image_format)
        assert pixels(encoded(photo(8, 8).quantize(16) if name == "GIF" else photo(8, 8), name)).shape == (
            8,
            8,
            3,
        )


def test_transparency_goes_over_white() -> None:
    image = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    for image_format in ("TIFF", "AVIF", "GIF", "JPEG2000"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stream = BytesIO()
            image.save(stream, image_format)
        assert (pixels(stream.getvalue()) >= 250).all()
