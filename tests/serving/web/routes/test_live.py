"""`GET /models/{model}/live`: what it says, what it refuses, and that asking again costs little."""

import json

import pytest
from starlette.testclient import TestClient

from serving.events import RequestDone
from serving.telemetry.live import Live
from serving.web.app import create_app
from serving.web.schemas import LiveBody
from tests.serving.web.fakes import fake_service

MOST_BYTES_OF_NEWS = 2000


def client(live: Live) -> TestClient:
    service, _ = fake_service()
    service.live = live
    return TestClient(create_app(service))


def busy(seconds: int) -> Live:
    now = [0.0]
    live = Live(lambda: now[0])
    for _ in range(seconds):
        for step in range(40):
            live(RequestDone("tiny", (0, 2), (1000, 7000), 5000.0, 0.001 * (1 + step)))
        now[0] += 1
    return live


def test_it_says_what_the_documentation_promises() -> None:
    body = client(busy(3)).get("/models/tiny/live").json()
    found = LiveBody.model_validate(body, strict=True)
    assert set(body) == set(LiveBody.model_fields)
    assert (found.first, found.next, found.full_flops) == (0, 3, 7000)
    assert found.exits == [[40] * 3, [0] * 3, [40] * 3]
    assert found.image_seconds == [0.001, 0.002, 0.004]
    assert found.threads >= 1
    assert found.health.status == "ok"


def test_asking_again_gets_only_what_is_new() -> None:
    http = client(busy(290))
    first = http.get("/models/tiny/live")
    again = http.get(f"/models/tiny/live?since={first.json()['next'] - 2}")
    assert [len(column) for column in again.json()["exits"]] == [2, 2, 2]
    assert len(again.content) < MOST_BYTES_OF_NEWS < len(first.content)


def test_its_size_does_not_depend_on_the_traffic() -> None:
    quiet, loud = Live(), busy(300)
    news = [client(live).get("/models/tiny/live?since=298").content for live in (quiet, loud)]
    assert all(len(body) < MOST_BYTES_OF_NEWS for body in news)
    assert json.loads(news[1])["first"] == 298


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/models/other/live", 404),
        ("/models/tiny/live?since=-1", 422),
        ("/models/tiny/live?since=soon", 422),
        ("/models/tiny/live?since=", 422),
        ("/models/tiny/live?since=1&since=2", 422),
        ("/models/tiny/live?from=1", 422),
        ("/models/tiny/live?since=9999999999999", 422),
        ("/models/tiny/live?since=999999999999", 200),
    ],
)
def test_what_cannot_be_asked_is_refused(path: str, status: int) -> None:
    assert client(Live()).get(path).status_code == status
