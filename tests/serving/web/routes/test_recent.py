"""`GET /models/{model}/recent`: on the admin rule, and only where the operator keeps images."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from serving.web.access.control import Access
from serving.web.app import create_app
from serving.web.recent import RecentImages
from serving.web.schemas import RecentBody
from tests.serving.web.fakes import fake_service

HORSE = Path(__file__).parents[4] / "docs/images/horse.png"
ADMIN = Access(allow_admin=True)


def client(keep: int, access: Access = ADMIN) -> TestClient:
    service, _ = fake_service()
    service.recent = RecentImages(keep) if keep else None
    return TestClient(create_app(service, access))


def test_what_was_answered_is_shown_by_exit() -> None:
    asking = client(2)
    said = asking.post("/classify", content=HORSE.read_bytes(), headers={"Content-Type": "image/png"}).json()
    found = RecentBody.model_validate(asking.get("/models/tiny/recent").json(), strict=True)
    assert [each.exit for each in found.exits] == [1, 2, 3]
    (image,) = found.exits[said["exit"] - 1].images
    assert (image.class_name, image.picture[:22]) == (said["class_name"], "data:image/png;base64,")


@pytest.mark.parametrize(("keep", "access"), [(0, ADMIN), (2, Access()), (2, Access(admin_port=1))])
def test_elsewhere_there_is_nothing(keep: int, access: Access) -> None:
    assert client(keep, access).get("/models/tiny/recent").status_code == 404


def test_an_unknown_model_is_named() -> None:
    answer = client(2).get("/models/other/recent")
    assert (answer.status_code, "no model 'other'" in answer.json()["detail"]) == (404, True)
