import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from serving.images.orientation import orientation
from tests.serving.images.files import exif


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_all_eight_are_read(value: int, prefix: bytes) -> None:
    assert orientation(prefix + exif(value).removeprefix(b"Exif\0\0")) == value


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_read(order: str) -> None:
    data = Image.Exif()
    data.endian = order
    data[ExifTags.Base.Make] = "Camera"
    data[ExifTags.Base.Orientation] = 5
    assert orientation(data.tobytes()) == 5


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"Exif\0\0",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        exif(6)[:-6],
        exif(6).replace(b"\x12\x01", b"\x12\x02").replace(b"\x01\x12", b"\x02\x12"),
        b"XX*\0\x08\0\0\0",
    ],
)
def test_what_cannot_be_read_turns_nothing(broken: bytes) -> None:
    assert orientation(broken) == 1


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_numbers_without_a_meaning_turn_nothing(value: int) -> None:
    assert orientation(exif(value)) == 1


@pytest.mark.parametrize("packet", [b'<x tiff:Orientation="6"/>', b"<tiff:Orientation>6</tiff:Orientation>"])
def test_xmp_is_asked_where_exif_says_nothing(packet: bytes) -> None:
    assert orientation(None, packet) == orientation(b"broken", packet) == 6
    assert orientation(exif(3), packet) == 3


@given(st.binary(max_size=60), st.sampled_from([b"", b"II*\0", b"MM\0*", b"Exif\0\0II*\0\x08\0\0\0"]))
def test_random_bytes_turn_in_one_of_eight_ways(noise: bytes, start: bytes) -> None:
    assert 1 <= orientation(start + noise, noise) <= 8
