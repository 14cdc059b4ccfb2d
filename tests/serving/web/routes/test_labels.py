"""Labels over HTTP: who may send them, what becomes of them, what they say, and what is refused."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from starlette.testclient import TestClient

from serving.events import AccuracyMeasured, AnswerLabelled, Event
from serving.monitoring.accuracy import FIRST_SIZE
from serving.monitoring.label_book import LabelBook
from serving.monitoring.label_store import LabelStore
from serving.web.access.control import Access
from serving.web.app import create_app
from tests.bundles import tiny_images
from tests.serving.web.fakes import FakeModel, fake_service
from tests.serving.web.posting import IMAGE, NPY, npy

LABELS = "/models/tiny/labels"
OPEN = Access(allow_admin=True)


class Server:
    """An app with a book of labels over a fake model, and the events that it emits."""

    def __init__(self, model: FakeModel, folder: Path | None = None, **settings: Any) -> None:
        self.service, self.events = fake_service(model, **settings)
        logger = structlog.get_logger()
        store = LabelStore(folder, keep=5_000, keep_seconds=3600, logger=logger)
        self.service.labels = LabelBook(
            store, alarm_delta=0.001, guarantee_delta=0.05, emit=self.events.append, logger=logger
        )
        self.http = TestClient(create_app(self.service, OPEN), raise_server_exceptions=False)

    def classify(self, images: np.ndarray[Any, Any], query: str = "") -> tuple[str, list[int]]:
        """Have images answered; return the request's id and the classes."""
        answer = self.http.post(f"/classify{query}", content=npy(images), headers=NPY)
        found = [result["class_index"] for result in answer.json()["results"]]
        return answer.headers["offramp-request-id"], found

    def label(self, request: str, classes: list[int], query: str = "") -> Any:
        labels = [
            {"request_id": request, "image": image, "class_index": index}
            for image, index in enumerate(classes)
        ]
        return self.http.post(LABELS + query, json={"labels": labels})

    def close(self) -> None:
        assert self.service.labels is not None
        self.service.labels.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(FakeModel())
    yield made
    made.close()


def of_kind(events: list[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_labels_give_the_accuracy_of_exits_and_the_last_of_contradicting_ones_stands(server: Server) -> None:
    request, found = server.classify(tiny_images(20))
    wrong = [(index + 1) % 4 for index in found[:5]]
    counts = server.label(request, [*wrong, *found[5:]]).json()
    assert counts == {"new": 20, "same": 0, "contradicting": 0, "certifying": 0, "unknown": 0}
    summary = server.http.get(LABELS).json()
    (exit_accuracy,) = summary["exits"]
    assert (exit_accuracy["exit"], exit_accuracy["labelled"], exit_accuracy["accuracy"]) == (1, 20, 0.75)
    low, high = exit_accuracy["interval"]
    assert low < 0.75 < high
    again = server.label(request, found).json()
    assert (again["new"], again["same"], again["contradicting"]) == (0, 15, 5)
    summary = server.http.get(LABELS).json()
    assert summary["exits"][0]["accuracy"] == 1
    assert summary["contradictions"] == 5
    told = of_kind(server.events, AnswerLabelled)
    assert [event.right for event in told] == [False] * 5 + [True] * 15


def test_a_class_is_given_by_name_or_by_index(server: Server) -> None:
    request, found = server.classify(tiny_images(1))
    name = FakeModel().manifest.classes[found[0]]
    label = {"request_id": request, "class_name": name}
    assert server.http.post(LABELS, json={"labels": [label]}).json()["new"] == 1
    assert server.http.get(LABELS).json()["exits"][0]["accuracy"] == 1


def test_an_unknown_request_is_404_by_its_place_and_nothing_is_taken(server: Server) -> None:
    request, found = server.classify(tiny_images(1))
    known = {"request_id": request, "class_index": found[0]}
    labels = [known, known | {"request_id": "0-ffff-1"}]
    refused = server.http.post(LABELS, json={"labels": labels})
    assert refused.status_code == 404
    assert "labels[1]: no answer of model 'tiny' to image 0 of request '0-ffff-1'" in refused.json()["detail"]
    assert server.http.get(LABELS).json()["exits"] == []
    taken = server.http.post(f"{LABELS}?on_unknown=skip", json={"labels": labels}).json()
    assert (taken["new"], taken["unknown"]) == (1, 1)


def test_an_image_that_could_not_be_read_has_no_answer_to_label(server: Server) -> None:
    image = base64.b64encode(IMAGE).decode()
    answer = server.http.post("/classify?on_error=item", json={"images": ["AAAA", image]})
    request, index = answer.headers["offramp-request-id"], answer.json()["results"][1]["class_index"]
    label = {"request_id": request, "image": 1, "class_index": index}
    assert server.http.post(LABELS, json={"labels": [label]}).json()["new"] == 1
    assert server.label(request, [index]).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"[]", 400, "expected JSON of the form"),
        (b'{"labels": []}', 400, "length >= 1"),
        (b'{"labels": [{"request_id": "a", "klass": 1}]}', 400, "unknown field `klass`"),
        (b'{"labels": [{"request_id": "a"}]}', 422, "labels[0]: expected class_name or class_index"),
        (b'{"labels": [{"request_id": "a", "class_index": 4}]}', 422, "one of 4 classes, found 4"),
        (b'{"labels": [{"request_id": "a", "class_index": -1}]}', 422, "one of 4 classes, found -1"),
        (b'{"labels": [{"request_id": "a", "class_name": "gnu"}]}', 422, "found 'gnu'"),
        (b'{"labels": [{"request_id": "a", "image": -1, "class_index": 0}]}', 400, ">= 0"),
        (b"{" * 3_000_000, 413, "at most"),
        (b"\xff", 400, "expected JSON"),
    ],
)
def test_bad_labels_are_refused_with_a_reason(server: Server, body: bytes, status: int, reason: str) -> None:
    refused = server.http.post(LABELS, content=body)
    assert refused.status_code == status
    assert reason in refused.json()["detail"]


def test_bad_parameters_and_other_models_are_refused(server: Server) -> None:
    request, found = server.classify(tiny_images(1))
    assert server.label(request, found, "?on_unknown=maybe").status_code == 422
    assert server.label(request, found, "?on=1").status_code == 422
    assert server.http.post("/models/none/labels", json={}).status_code == 404


def test_only_labels_of_the_random_sample_certify() -> None:
    server = Server(FakeModel(sampled=dict.fromkeys(range(0, 200, 2), 0)), max_drop=0.5)
    for _ in range(FIRST_SIZE // 100):
        request, found = server.classify(tiny_images(200))
        # The last exit calls every sampled image 0; of five images that left as another class it is right.
        lost = [place for place in range(0, 200, 2) if found[place] != 0][:5]
        truth = [0 if place in lost else index for place, index in enumerate(found)]
        counts = server.label(request, truth).json()
        assert (counts["new"], counts["certifying"]) == (200, 100)
    certificate = server.http.get(LABELS).json()["certificate"]
    assert (certificate["images"], certificate["lost"]) == (FIRST_SIZE, 10)
    assert certificate["bound"] > 10 / FIRST_SIZE
    assert (certificate["max_drop"], certificate["kept"]) == (0.5, True)
    server.close()


def test_images_that_a_hard_budget_sent_out_count_for_accuracy_alone() -> None:
    server = Server(FakeModel(sampled={0: 0}))
    request, found = server.classify(tiny_images(10), "?mode=hard")
    server.label(request, found)
    summary = server.http.get(LABELS).json()
    assert summary["exits"][0]["labelled"] == 10
    assert (summary["sampled"], summary["evidence"]) == (0, 0)
    server.close()


def test_a_fall_of_accuracy_raises_the_alarm_once_and_it_survives_a_restart(tmp_path: Path) -> None:
    server = Server(FakeModel(), tmp_path)
    for _ in range(5):
        request, found = server.classify(tiny_images(200))
        assert server.label(request, [(index + 1) % 4 for index in found]).status_code == 200
    changes = [event for event in of_kind(server.events, AccuracyMeasured) if event.changed]
    assert [event.alarm for event in changes] == [True]
    assert server.http.get(LABELS).json()["alarm"]
    server.close()
    again = Server(FakeModel(), tmp_path)
    summary = again.http.get(LABELS).json()
    assert summary["alarm"]
    assert summary["exits"][0]["labelled"] == 1_000
    assert again.label(request, found).json()["contradicting"] == 200
    again.close()


def test_labels_are_taken_where_callers_may_change_the_server_and_nowhere_else(server: Server) -> None:
    for access, port, status in [
        (Access(), 8000, 404),
        (Access(allow_admin=True), 8000, 200),
        (Access(admin_port=9000), 8000, 404),
        (Access(admin_port=9000), 9000, 200),
        (Access(admin_port=9000, allow_admin=True), 8000, 200),
    ]:
        http = TestClient(create_app(server.service, access), base_url=f"http://localhost:{port}")
        assert http.get(LABELS).status_code == status
    without = TestClient(create_app(fake_service()[0], OPEN))
    assert without.get(LABELS).status_code == 404


def test_answers_over_the_open_inference_protocol_can_be_labelled(server: Server) -> None:
    images = tiny_images(2)
    tensor = {
        "name": "images",
        "datatype": "UINT8",
        "shape": list(images.shape),
        "data": images.ravel().tolist(),
    }
    answer = server.http.post("/v2/models/tiny/infer", json={"inputs": [tensor]})
    outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
    counts = server.label(answer.headers["offramp-request-id"], outputs["class_index"]).json()
    assert counts["new"] == 2
