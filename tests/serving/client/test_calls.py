"""Requests and answers without a network: what is asked, and what is made of every kind of answer."""

import base64
import json
from typing import Any

import numpy as np
import pytest

from serving.answer import ExitReport
from serving.client.calls import (
    Call,
    Reply,
    classify_call,
    default_of,
    labels_call,
    models_call,
    plan_call,
    ready_call,
)
from serving.client.errors import ClientError, ResponseError, UnexpectedAnswerError
from serving.client.results import Label, LabelsTaken, ServedExit, ServedModel, ServerAnswer, TopClass

NOTHING: dict[str, Any] = {
    **dict.fromkeys(("model", "version", "mode", "max_drop", "deadline_seconds", "priority", "top_k")),
    "probabilities": False,
    "explain": False,
}
TOLD = {
    **{"class_name": "cat", "class_index": 2, "confidence": 0.75, "exit": 1, "flops": 1000},
    **{"budget_flops": 3500.0, "model": "tiny"},
}
ANSWER = ServerAnswer("cat", 2, 0.75, 1, 1000, 3500.0, "tiny")


def ask(images: object = b"a file", budget: str | float | None = None, **options: object) -> Call[Any]:
    return classify_call(images, budget, **NOTHING | options)  # type: ignore[arg-type]


def reply(document: object, status: int = 200, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, named, json.dumps(document).encode())


def test_one_image_is_the_body() -> None:
    call = ask()
    assert (call.method, call.path, call.query) == ("POST", "/classify", {})
    assert (call.body, call.content_type) == (b"a file", "application/octet-stream")


def test_several_images_are_a_list_in_base64() -> None:
    call = ask([b"one", b"two"])
    assert call.body is not None
    assert json.loads(call.body) == {"images": [base64.b64encode(b"one").decode(), "dHdv"]}
    assert call.content_type == "application/json"


def test_options_are_the_query() -> None:
    call = ask(
        budget=1.5e8,
        **{"model": "a", "version": "2", "mode": "hard", "max_drop": 0.02, "deadline_seconds": 0.25},
        **{"priority": "low", "top_k": 3, "probabilities": True, "explain": True},
    )
    assert call.query == {
        **{"budget": "150000000.0", "model": "a", "version": "2", "mode": "hard", "max_drop": "0.02"},
        **{"deadline_ms": "250.0", "priority": "low", "top_k": "3", "probabilities": "1", "explain": "1"},
    }
    assert ask(budget="50%").query == {"budget": "50%"}


def test_answers_are_those_of_a_model_with_the_names_that_labels_need() -> None:
    (answer,) = ask().result(reply(TOLD, offramp_request_id="0-ab-1"))
    assert answer == ServerAnswer("cat", 2, 0.75, 1, 1000, 3500.0, "tiny", request_id="0-ab-1", index=0)
    two = ask([b"one", b"two"]).result(reply({"results": [TOLD, TOLD]}, offramp_request_id="0-ab-2"))
    assert [(found.request_id, found.index) for found in two] == [("0-ab-2", 0), ("0-ab-2", 1)]


def test_what_was_asked_for_on_top_is_there() -> None:
    report = {
        **{"exit": 1, "class_name": "cat", "class_index": 2, "confidence": 0.75, "score": 0.5},
        **{"threshold": None, "leaves": True, "flops": 1000},
    }
    more = {
        **TOLD,
        **{"deadline_met": False, "ms": 4.0, "budget_ms": 8.0, "probabilities": [0.25, 0.0, 0.75]},
        **{"top": [{"class_name": "cat", "class_index": 2, "probability": 0.75}], "exits": [report]},
    }
    (answer,) = ask().result(reply(more, offramp_brownout="0.5"))
    assert (answer.deadline_met, answer.seconds, answer.budget_seconds) == (False, 0.004, 0.008)
    assert answer.probabilities is not None
    assert answer.probabilities.dtype == np.float32
    assert answer.top(1) == [(2, 0.75)]
    assert answer.likeliest == (TopClass("cat", 2, 0.75),)
    assert answer.exits == (ExitReport(1, "cat", 2, 0.75, 0.5, None, True, 1000),)
    assert answer.budget_share == 0.5


def test_members_of_a_newer_server_are_left_out() -> None:
    assert ask().result(reply({**TOLD, "colour": "red"})) == [ANSWER]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"\xff", b'{"class_name": "cat"}'])
def test_an_answer_of_another_server_is_named(body: bytes) -> None:
    with pytest.raises(
        UnexpectedAnswerError, match="expected an answer of an Offramp server, found text/html"
    ):
        ask().result(Reply(200, {"content-type": "text/html"}, body))


def test_a_wrong_number_of_answers_is_an_error() -> None:
    with pytest.raises(UnexpectedAnswerError, match="answers to 2 images, found 1"):
        ask([b"one", b"two"]).result(reply({"results": [TOLD]}))


def test_a_problem_keeps_the_words_of_the_server() -> None:
    told = {"type": "urn:offramp:problem:too-many-requests", "status": 429, "detail": "the queue is full"}
    with pytest.raises(ResponseError) as caught:
        ask().result(reply(told, 429, offramp_request_id="0-ab-3", retry_after="2"))
    error = caught.value
    assert (error.status, error.detail, error.type) == (429, "the queue is full", told["type"])
    assert (error.request_id, error.retry_after_seconds) == ("0-ab-3", 2.0)
    assert str(error) == "429: the queue is full (request 0-ab-3)"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"<h1>Bad gateway</h1>", "<h1>Bad gateway</h1>"),
        (b"", "an answer without a body"),
        (b'{"detail": 7}', '{"detail": 7}'),
        (b'["detail"]', '["detail"]'),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_an_error_of_something_before_the_server_is_shown_as_it_is(body: bytes, detail: str) -> None:
    with pytest.raises(ResponseError) as caught:
        ask().result(Reply(502, {}, body))
    assert (caught.value.detail, caught.value.request_id) == (detail, None)


def test_a_redirection_is_an_error() -> None:
    with pytest.raises(ResponseError, match="301"):
        ready_call().result(Reply(301, {"location": "https://elsewhere"}, b""))


MODEL = {
    **{"name": "a/b", "alive": True, "classes": 4, "precision": "int8", "default_budget": "100%"},
    **{"default_budget_flops": 7000, "exits": [{"exit": 1, "flops": 7000, "validation_accuracy": 1}]},
}


def test_models_say_which_is_the_default() -> None:
    document = {"models": [MODEL, {**MODEL, "name": "c"}], "default_model": "c"}
    models = models_call().result(reply(document))
    assert [(model.name, model.is_default) for model in models] == [("a/b", False), ("c", True)]
    assert models[0].exits == (ServedExit(1, 7000, 1.0),)
    assert default_of(models) == "c"


@pytest.mark.parametrize(("names", "told"), [("ab", "a, b"), ("", "none")])
def test_without_a_default_a_name_is_asked_for(names: str, told: str) -> None:
    models = [ServedModel(name, True, 4, "int8", (), "100%", 7000.0) for name in names]
    with pytest.raises(ClientError, match=f"expected model=, .* loaded: {told}"):
        default_of(models)


def test_a_name_stays_one_part_of_the_path() -> None:
    assert plan_call("a/b?c", "50%", 0.02).path == "/models/a%2Fb%3Fc/plan"
    assert plan_call("a", 1e6, None).query == {"budget": "1000000.0"}


def test_labels_name_answer_and_class() -> None:
    call = labels_call("tiny", [Label("0-ab-1", 0, "cat"), Label("0-ab-2", 3, 1)], skip_unknown=True)
    assert call.body is not None
    assert json.loads(call.body) == {
        "labels": [
            {"request_id": "0-ab-1", "image": 0, "class_name": "cat"},
            {"request_id": "0-ab-2", "image": 3, "class_index": 1},
        ]
    }
    assert call.query == {"on_unknown": "skip"}
    taken = {"new": 1, "same": 0, "contradicting": 0, "certifying": 0, "unknown": 1}
    assert call.result(reply(taken)) == LabelsTaken(1, 0, 0, 0, 1)
    with pytest.raises(ValueError, match="expected labels, found none"):
        labels_call("tiny", [], skip_unknown=False)
