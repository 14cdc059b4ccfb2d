"""Files of a form: over the route as browsers, curl and httpx send them, and what no form is refused with."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.errors import ImageError, RequestError
from serving.web.app import create_app
from serving.web.reading.form import FormReader
from tests.serving.web.fakes import FakeModel, fake_service
from tests.serving.web.posting import IMAGES, encoded, post

INDICES = [int(image[0, 0, 0]) % 4 for image in IMAGES]
TYPE = "multipart/form-data; boundary=x"


def client(**settings: Any) -> TestClient:
    return TestClient(create_app(fake_service(FakeModel(), **settings)[0]), raise_server_exceptions=False)


def part(headers: str, data: bytes = b"data") -> bytes:
    return b"--x\r\n" + headers.encode() + b"\r\n\r\n" + data + b"\r\n"


def read(body: bytes, content_type: str = TYPE, max_files: int = 8) -> FormReader:
    reader = FormReader(body, content_type, max_files)
    while reader.step():
        pass
    return reader


IMAGE = 'Content-Disposition: form-data; name="image"; filename="a.png"'
FILES = 'Content-Disposition: form-data; name="images"; filename="a.png"'


def test_one_file_is_answered_by_an_object_and_several_by_a_list() -> None:
    http = client()
    one = http.post("/classify", files={"image": ("a.png", encoded(IMAGES[0]), "image/png")})
    assert one.json()["class_index"] == INDICES[0]
    files = [("images", (f"{number}.png", encoded(IMAGES[number]), "image/png")) for number in range(3)]
    several = http.post("/classify?budget=50%25", files=files)
    assert [result["class_index"] for result in several.json()["results"]] == INDICES
    alone = http.post("/classify", files=files[:1])
    assert len(alone.json()["results"]) == 1


def test_a_type_that_disagrees_with_the_bytes_is_refused_and_an_item_may_fail_alone() -> None:
    http = client()
    wrong = http.post("/classify", files={"image": ("a.png", encoded(IMAGES[0]), "image/jpeg")})
    assert wrong.status_code == 415
    files = [
        ("images", ("a.png", encoded(IMAGES[0]), "image/png")),
        ("images", ("b.png", b"none", "image/png")),
    ]
    assert http.post("/classify", files=files).status_code == 415
    answer = http.post("/classify?on_error=item", files=files).json()["results"]
    assert (answer[0]["class_index"], answer[1]["problem"]["status"]) == (INDICES[0], 415)


def test_files_come_whole_however_the_body_is_cut_into_steps() -> None:
    data = bytes(range(256)) * 1_000 + b"\r\n--\r\n-" * 1_000
    found = read(part(IMAGE, data) + b"--x--\r\n")
    assert found.files == [data]
    assert found.types == [""]
    assert not found.listed


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (part('Content-Disposition: form-data; name="budget"') + b"--x--\r\n", "found 'budget'"),
        (part("Content-Type: image/png") + b"--x--\r\n", "found no name"),
        (part(IMAGE) + part(IMAGE) + b"--x--\r\n", "found both or several"),
        (part(IMAGE) + part(FILES) + b"--x--\r\n", "found both or several"),
        (part(IMAGE), "does not end with its boundary"),
        (b"no form at all", "multipart/form-data"),
        (b"--x--\r\n", "found none"),
        (b"", "does not end"),
        (b"--x\r\nbad header\r\n\r\n", "multipart/form-data"),
        (part("X: " + "a" * 10_000) + b"--x--\r\n", "multipart/form-data"),
    ],
)
def test_what_is_no_such_form_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises((RequestError, ImageError), match=reason):
        read(body)


def test_too_many_parts_are_refused_before_any_is_parsed() -> None:
    with pytest.raises(ImageError, match="expected 1 to 8 files, found more parts"):
        FormReader(part(FILES) * 10, TYPE, 8)
    refused = client(max_images=2).post("/classify", files=[("images", ("a", encoded(IMAGES[0])))] * 5)
    assert refused.status_code == 422


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'a' * 71}"],
)
def test_a_boundary_that_cannot_be_is_refused(content_type: str) -> None:
    with pytest.raises(RequestError, match="boundary"):
        FormReader(b"", content_type, 8)


def test_a_body_without_its_type_is_refused_over_the_route() -> None:
    refused = post(fake_service()[0], "/classify", b"--x--", {"Content-Type": "multipart/form-data"})
    assert refused.status_code == 400
