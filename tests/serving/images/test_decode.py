import struct
import zlib
from contextlib import nullcontext
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from serving.errors import ImageError, ImageSizeError, ImageTypeError
from serving.images.decode import decode, open_image, to_array
from serving.images.preprocessing import Preprocessing
from serving.images.still import MAX_PARTS, Still

SPEC = Preprocessing(height=8, width=8)
SCALED = Preprocessing(height=8, width=8, decode="scaled")
PHOTO = Preprocessing(height=6, width=8, resize=10, filter="bicubic")
MAX_PIXELS = 64 * 64
ORIENTATION = 0x0112


def picture(width: int = 8, height: int = 8, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def still(image: Image.Image) -> Still:
    return Still(image.size, 1, 1, lambda shorter_side: image)


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header promises a size that its pixels do not have."""
    header = struct.pack(">II", width, height) + bytes((8, 2, 0, 0, 0))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 16)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


VALID = {name: encoded(picture(13, 9), name) for name in ("PNG", "JPEG", "WEBP")}


def test_a_png_of_the_right_size_comes_back_bit_for_bit() -> None:
    image = picture()
    pixels = decode(encoded(image), SPEC, MAX_PIXELS, "image/png")
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    np.testing.assert_array_equal(pixels, np.asarray(image))


@pytest.mark.parametrize("image_format", sorted(VALID))
@pytest.mark.parametrize("content_type", [None, "", "application/octet-stream"])
def test_the_bytes_tell_the_format(image_format: str, content_type: str | None) -> None:
    assert decode(VALID[image_format], SPEC, MAX_PIXELS, content_type).shape == (8, 8, 3)


def test_types_by_names_in_use_are_those_that_are_registered() -> None:
    assert decode(VALID["JPEG"], SPEC, MAX_PIXELS, "image/jpg").shape == (8, 8, 3)
    assert decode(VALID["PNG"], SPEC, MAX_PIXELS, "image/x-png").shape == (8, 8, 3)


def test_a_content_type_that_disagrees_is_refused() -> None:
    with pytest.raises(ImageTypeError, match="sent as image/png, but the bytes are image/jpeg"):
        decode(VALID["JPEG"], SPEC, MAX_PIXELS, "image/png")


def test_sixteen_bits_keep_their_high_byte() -> None:
    grey = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024
    pixels = decode(encoded(Image.fromarray(grey)), SPEC, MAX_PIXELS)
    np.testing.assert_array_equal(pixels[..., 0], grey >> 8)


def test_transparency_goes_over_white() -> None:
    image = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    assert (decode(encoded(image), SPEC, MAX_PIXELS) == 255).all()
    palette = Image.new("P", (8, 8), 0)
    assert (decode(encoded(palette, transparency=0), SPEC, MAX_PIXELS) == 255).all()


def rotated(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """What a viewer shows for stored pixels, from the EXIF table of row 0 / column 0 positions."""
    flips = {
        1: (False, 0),
        2: (True, 0),
        3: (False, 2),
        4: (True, 2),
        5: (True, 1),
        6: (False, 3),
        7: (True, 3),
        8: (False, 1),
    }
    mirrored, quarter_turns = flips[orientation]
    return np.rot90(pixels[:, ::-1] if mirrored else pixels, quarter_turns)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = picture()
    pixels = decode(encoded(image, exif=exif), SPEC, MAX_PIXELS)
    np.testing.assert_array_equal(pixels, rotated(np.asarray(image), orientation))


@pytest.mark.parametrize("size", [(65_536, 1), (1, 65_536)])
def test_a_side_is_bounded_as_well_as_the_pixels(size: tuple[int, int]) -> None:
    with pytest.raises(ImageSizeError, match=f"sides of at most 65,535 pixels, found {size[0]}x{size[1]}"):
        decode(encoded(picture(*size)), SPEC, max_pixels=10**6)


@pytest.mark.parametrize(
    ("data", "error", "names"),
    [
        (b"", ImageError, "empty body"),
        (b"GIF89a" + bytes(30), ImageTypeError, "expected a PNG, JPEG or WebP image, found a GIF image"),
        (b"%PDF-1.7", ImageTypeError, "found a PDF document"),
        (b"\0\0\0\x1cftypheic", ImageTypeError, "found a HEIC image"),
        (b"\0\0\0\x1cftypisom", ImageTypeError, "found a film"),
        (b"iVBORw0KGgoAAAANSUhEUg", ImageTypeError, "found an image in base64"),
        (b"\n <!DOCTYPE html>", ImageTypeError, "found a page of HTML"),
        (bytes(50), ImageTypeError, "found bytes that start like none of them"),
        (encoded(picture(65, 64)), ImageSizeError, "65x64"),
        (encoded(picture(65, 64), "JPEG"), ImageSizeError, "65x64"),
        (encoded(picture(65, 64), "WEBP"), ImageSizeError, "65x64"),
        (encoded(picture(65, 64), "WEBP", lossless=True), ImageSizeError, "65x64"),
        (encoded(picture(65, 64, "RGBA"), "WEBP"), ImageSizeError, "65x64"),
        (png_claiming(9400, 9400), ImageSizeError, "9400x9400"),
        (png_claiming(2**31 - 1, 2**31 - 1), ImageError, "pixels"),
        (png_claiming(60, 60), ImageError, "truncated or broken"),
        (png_claiming(0, 5), ImageError, "PNG"),
        (b"RIFF\x0c\0\0\0WEBPVP8 \0\0\0\0", ImageError, "no size in its header"),
        (
            encoded(picture(), save_all=True, append_images=[picture(mode="L").convert("RGB")]),
            ImageError,
            "2 frames",
        ),
        (
            encoded(picture(), "WEBP", save_all=True, append_images=[picture().rotate(90)]),
            ImageError,
            "2 frames",
        ),
    ],
)
def test_refusals_say_what_was_found(data: bytes, error: type[ImageError], names: str) -> None:
    with pytest.raises(error, match=names):
        decode(data, SPEC, MAX_PIXELS)


EMPTY_PARTS = {
    "PNG": (33, b"\0\0\0\0tEXt\x9a\xcb\xa0\x6b"),
    "JPEG": (2, b"\xff\xfe\0\2"),
    "JPEG behind its scan": (-2, b"\xff\xfe\0\2"),
    "WEBP": (None, b"abcd\0\0\0\0"),
}


@pytest.mark.parametrize("kind", EMPTY_PARTS)
def test_more_parts_than_any_encoder_writes_are_refused(kind: str) -> None:
    place, part = EMPTY_PARTS[kind]
    image_format = kind.split()[0]
    for count, refused in ((100, False), (MAX_PARTS, True)):
        data = bytearray(VALID[image_format])
        data[place or len(data) : place or len(data)] = part * count
        if image_format == "WEBP":
            data[4:8] = (len(data) - 8).to_bytes(4, "little")
        with pytest.raises(ImageError, match="at most 20,000 chunks") if refused else nullcontext():
            open_image(bytes(data), MAX_PIXELS)


def test_of_a_multi_picture_jpeg_the_primary_is_read() -> None:
    data = encoded(picture(), "MPO", save_all=True, append_images=[picture(4, 4)])
    np.testing.assert_array_equal(
        decode(data, SPEC, MAX_PIXELS, "image/jpeg"), decode(encoded(picture(), "JPEG"), SPEC, MAX_PIXELS)
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (10, 10), (9, 30), (31, 7), (64, 64)])
@pytest.mark.parametrize("spec", [SPEC, PHOTO])
def test_any_shape_becomes_the_models(size: tuple[int, int], spec: Preprocessing) -> None:
    assert decode(encoded(picture(*size)), spec, MAX_PIXELS).shape == (spec.height, spec.width, 3)


def test_one_step_resize_and_crop_is_what_two_steps_give() -> None:
    image = picture(60, 40)
    two_steps = image.resize((15, 10), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(
        to_array(still(image), Preprocessing(height=10, width=9, resize=10, filter="bicubic")).astype(int),
        np.asarray(two_steps.crop((3, 0, 12, 10))).astype(int),
        atol=2,
    )


def test_a_crop_without_scaling_takes_the_centre_pixels() -> None:
    image = picture(14, 10)
    np.testing.assert_array_equal(to_array(still(image), PHOTO), np.asarray(image)[2:8, 3:11])


def test_only_large_jpegs_are_decoded_at_a_reduced_size() -> None:
    for side in (8, 16, 31):
        data = encoded(picture(side, side), "JPEG")
        whole = Image.open(BytesIO(data)).convert("RGB")
        np.testing.assert_array_equal(decode(data, SPEC, MAX_PIXELS), to_array(still(whole), SPEC))
    gradient = Image.linear_gradient("L").convert("RGB")
    reduced = decode(encoded(gradient, "JPEG", quality=95), SPEC, 256 * 256).astype(int)
    assert np.abs(reduced - to_array(still(gradient), SPEC)).max() <= 3


@pytest.mark.parametrize(("side", "scale"), [(15, 1), (16, 2), (31, 2), (32, 4), (64, 8)])
def test_a_bundle_may_have_jpegs_decoded_down_to_its_own_size(side: int, scale: int) -> None:
    data = encoded(picture(side, side), "JPEG")
    with Image.open(BytesIO(data)) as reduced:
        reduced.draft("RGB", (side // scale, side // scale))
        assert SCALED.height <= reduced.width == -(-side // scale)
        expected = to_array(still(reduced.convert("RGB")), SCALED)
    np.testing.assert_array_equal(decode(data, SCALED, MAX_PIXELS), expected)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_scaled_decoding_is_for_jpegs_alone(image_format: str) -> None:
    data = encoded(picture(40, 40), image_format)
    np.testing.assert_array_equal(decode(data, SCALED, MAX_PIXELS), decode(data, SPEC, MAX_PIXELS))


def test_a_truncated_jpeg_is_refused_at_every_scale() -> None:
    data = encoded(picture(64, 64), "JPEG")
    for length in range(len(data) // 2, len(data) - 2, 97):
        with pytest.raises(ImageError):
            decode(data[:length], SCALED, MAX_PIXELS)


def test_a_crop_larger_than_the_resize_is_not_a_specification() -> None:
    with pytest.raises(ValidationError, match="expected at least 9"):
        Preprocessing(height=9, width=8, resize=8)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8X"]),
)
def test_random_bytes_are_image_errors(noise: bytes, magic: bytes) -> None:
    with pytest.raises(ImageError):
        decode(magic + noise, SPEC, MAX_PIXELS)


@given(st.sampled_from(sorted(VALID)), st.data())
def test_broken_images_decode_or_are_image_errors(image_format: str, data: st.DataObject) -> None:
    whole = bytearray(VALID[image_format])
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        pixels = decode(cut, SPEC, MAX_PIXELS)
    except ImageError:
        return
    assert pixels.shape == (8, 8, 3)


@pytest.mark.parametrize("image_format", sorted(VALID))
def test_half_an_image_is_refused(image_format: str) -> None:
    with pytest.raises(ImageError):
        decode(VALID[image_format][: len(VALID[image_format]) // 2], SPEC, MAX_PIXELS)
