import base64
import io
import json
import struct
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from serving.errors import EngineError
from serving.events import RequestDone, RequestFailed, StageRan
from serving.web.app import create_app
from tests.bundles import tiny_images
from tests.serving.web.fakes import FakeModel, fake_service

INFER = "/v2/models/tiny/infer"
IMAGES = tiny_images(3)
INDICES = [int(image[0, 0, 0]) % 4 for image in IMAGES]


def client(*models: FakeModel, **settings: Any) -> TestClient:
    return TestClient(create_app(fake_service(*models, **settings)[0]), raise_server_exceptions=False)


def png(size: int = 8, value: int = 2) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (size, size), (value, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def tensor(images: np.ndarray = IMAGES, **changes: Any) -> dict[str, Any]:
    given = {"name": "images", "datatype": "UINT8", "shape": list(images.shape)}
    return given | {"data": images.ravel().tolist()} | changes


def request(**more: Any) -> dict[str, Any]:
    return {"inputs": [tensor()]} | more


def inputs(*tensors: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": list(tensors)}


def outputs(body: dict[str, Any]) -> dict[str, Any]:
    return {output["name"]: output for output in body["outputs"]}


def in_binary(given: dict[str, Any], *tensors: bytes) -> dict[str, Any]:
    text = json.dumps(given).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    return {"content": b"".join([text, *tensors]), "headers": headers}


def test_the_server_and_its_models_are_described() -> None:
    asked = client(FakeModel("one"), FakeModel("two"))
    server = asked.get("/v2").json()
    assert (server["name"], type(server["version"])) == ("offramp", str)
    assert {"binary_tensor_data", "classification", "statistics"} <= set(server["extensions"])
    body = asked.get("/v2/models/two").json()
    assert (body["name"], body["versions"]) == ("two", ["1"])
    assert body["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}]
    assert [(entry["name"], entry["datatype"], entry["shape"]) for entry in body["outputs"]] == [
        ("probabilities", "FP32", [-1, 4]),
        ("class_index", "INT64", [-1]),
        ("confidence", "FP32", [-1]),
        ("exit", "INT32", [-1]),
        ("flops", "INT64", [-1]),
    ]
    assert asked.get("/v2/models/two/versions/1").json() == body


def test_the_configuration_is_tritons() -> None:
    config = client(max_images=16).get("/v2/models/tiny/config").json()
    assert (config["name"], config["max_batch_size"]) == ("tiny", 16)
    assert config["input"] == [{"name": "images", "data_type": "TYPE_UINT8", "dims": [8, 8, 3]}]
    assert config["output"][0] == {"name": "probabilities", "data_type": "TYPE_FP32", "dims": [4]}


def test_a_dead_a_hanging_and_a_draining_model_are_not_ready() -> None:
    well, dead, hung = FakeModel("well"), FakeModel("dead", alive=False), FakeModel("hung", True, 99.0)
    service, _ = fake_service(well, dead, hung)
    asked = TestClient(create_app(service))
    assert asked.get("/v2/models/well/ready").json() == {"name": "well", "ready": True}
    for name in ("dead", "hung"):
        answer = asked.get(f"/v2/models/{name}/ready")
        assert (answer.status_code, name in answer.json()["error"]) == (503, True)
    index = asked.post("/v2/repository/index").json()
    states = {entry["name"]: entry["state"] for entry in index}
    assert states == {"well": "READY", "dead": "UNAVAILABLE", "hung": "UNAVAILABLE"}
    only = asked.post("/v2/repository/index", json={"ready": True}).json()
    assert only == [{"name": "well", "version": "1", "state": "READY", "reason": ""}]
    service.draining = True
    assert asked.get("/v2/models/well/ready").status_code == 503
    assert asked.post("/v2/repository/index", json={"ready": True}).json() == []


def test_statistics_count_what_the_core_reports() -> None:
    service, _ = fake_service()
    for event in (
        StageRan("tiny", 0, 3, 0.002, (0.001, 0.001, 0.001)),
        StageRan("tiny", 1, 1, 0.001, (0.0,)),
        RequestDone("tiny", (0, 0, 1), (1000, 1000, 3000), 3000.0, 0.004),
        RequestFailed("tiny", "EngineError", 1),
    ):
        service.statistics(event)
    asked = TestClient(create_app(service))
    body = asked.get("/v2/models/tiny/stats").json()
    assert asked.get("/v2/models/stats").json() == body
    (found,) = body["model_stats"]
    assert (found["inference_count"], found["execution_count"]) == (3, 2)
    stats = found["inference_stats"]
    assert stats["success"] == {"count": 1, "ns": 4_000_000}
    assert stats["fail"]["count"] == 1
    assert stats["queue"] == {"count": 4, "ns": 3_000_000}
    assert stats["compute_infer"] == {"count": 2, "ns": 3_000_000}
    batches = [(entry["batch_size"], entry["compute_infer"]["ns"]) for entry in found["batch_stats"]]
    assert batches == [(1, 1_000_000), (3, 2_000_000)]


@pytest.mark.parametrize("path", ["/v2/models/nobody", "/v2/models/tiny/versions/7"])
@pytest.mark.parametrize("below", ["", "/config", "/stats", "/ready"])
def test_what_is_not_there_is_named(path: str, below: str) -> None:
    answer = client().get(path + below)
    assert (answer.status_code, "expected" in answer.json()["error"]) == (404, True)


def test_an_unknown_version_names_those_there_are() -> None:
    answer = client().post("/v2/models/tiny/versions/2/infer", json=request())
    assert answer.status_code == 404
    assert answer.json()["error"] == "model 'tiny' has no version '2' loaded: expected 1"


def test_pixels_in_json() -> None:
    model = FakeModel()
    body = client(model).post(INFER, json=request(id="seven")).json()
    assert (body["model_name"], body["model_version"], body["id"]) == ("tiny", "1", "seven")
    found = outputs(body)
    assert list(found) == ["probabilities", "class_index", "confidence", "exit", "flops"]
    assert found["class_index"]["data"] == INDICES
    assert (found["probabilities"]["shape"], found["exit"]["data"]) == ([3, 4], [1, 1, 1])
    assert found["flops"]["data"] == [1000] * 3
    assert np.array_equal(model.asked[0][0], IMAGES)


def test_nested_lists_say_the_same() -> None:
    model = FakeModel()
    assert client(model).post(INFER, json=inputs(tensor(data=IMAGES.tolist()))).status_code == 200
    assert np.array_equal(model.asked[0][0], IMAGES)


def test_long_lists_are_read_in_parts() -> None:
    model, many = FakeModel(), tiny_images(256)
    many[0] = 255  # so that a part ends within a number if parts end anywhere
    text = json.dumps(inputs(tensor(np.concatenate([many] * 16)[:4096])), indent=1)
    assert client(model, max_images=4096, max_queue_rows=4096).post(INFER, content=text).status_code == 200
    assert np.array_equal(model.asked[0][0], np.concatenate([many] * 16))


def test_binary_in_and_out() -> None:
    model = FakeModel()
    given = inputs(tensor(parameters={"binary_data_size": IMAGES.size}))
    del given["inputs"][0]["data"]
    given["parameters"] = {"binary_data_output": True}
    answer = client(model).post(INFER, **in_binary(given, IMAGES.tobytes()))
    place = int(answer.headers["Inference-Header-Content-Length"])
    assert answer.headers["Content-Type"] == "application/octet-stream"
    found = outputs(json.loads(answer.content[:place]))
    sizes = {name: output["parameters"]["binary_data_size"] for name, output in found.items()}
    assert sizes == {"probabilities": 48, "class_index": 24, "confidence": 12, "exit": 12, "flops": 24}
    probabilities = np.frombuffer(answer.content[place : place + 48], "<f4").reshape(3, 4)
    assert probabilities.argmax(axis=1).tolist() == INDICES
    assert answer.content.endswith(struct.pack("<3q", 1000, 1000, 1000))
    assert np.array_equal(model.asked[0][0], IMAGES)


def test_encoded_images_as_bytes_and_as_base64() -> None:
    model, files = FakeModel(), [png(8, 1), png(20, 2)]
    bare = {"name": "images", "datatype": "BYTES", "shape": [2]}
    raw = b"".join(struct.pack("<I", len(file)) + file for file in files)
    asked = client(model)
    sent = in_binary(inputs(bare | {"parameters": {"binary_data_size": len(raw)}}), raw)
    assert outputs(asked.post(INFER, **sent).json())["class_index"]["data"] == [1, 2]
    texts = [base64.b64encode(file).decode() for file in files]
    assert asked.post(INFER, json=inputs(bare | {"data": texts})).status_code == 200
    nested = bare | {"shape": [2, 1], "data": [[text] for text in texts]}
    assert asked.post(INFER, json=inputs(nested)).status_code == 200
    assert all(np.array_equal(model.asked[0][0], images) for images, _ in model.asked)


def test_only_what_is_asked_for_comes_back() -> None:
    given = request(outputs=[{"name": "exit", "parameters": {"binary_data": True}}, {"name": "confidence"}])
    answer = client().post(INFER, json=given)
    length = int(answer.headers["Inference-Header-Content-Length"])
    body = json.loads(answer.content[:length])
    assert [output["name"] for output in body["outputs"]] == ["exit", "confidence"]
    assert answer.content[length:] == struct.pack("<3i", 1, 1, 1)
    assert body["outputs"][1]["data"] == [0.5] * 3


def test_classification_names_the_likeliest_classes() -> None:
    wanted = [{"name": "probabilities", "parameters": {"classification": 2}}]
    given = inputs(tensor(IMAGES[:1] * 0 + 2)) | {"outputs": wanted}
    (output,) = client().post(INFER, json=given).json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 2])
    assert output["data"] == ["0.500000:2:cat", "0.166667:0:ant"]


def test_parameters_reach_the_model_from_both_places() -> None:
    model = FakeModel()
    asked = client(model)
    asked.post(INFER, json=request(parameters={"budget": "50%", "deadline_ms": 200, "mode": "hard"}))
    asked.post(f"{INFER}?max_drop=0.02", json=request(parameters={"budget": 5e3}))
    first, second = (ask for _, ask in model.asked)
    assert (first.budget, first.deadline_seconds, first.mode) == ("50%", 0.2, "hard")
    assert (second.budget, second.max_drop) == ("5000.0", 0.02)


def output(name: str, **parameters: Any) -> dict[str, Any]:
    return {"name": name, "parameters": parameters}


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        ({}, 400, "Open Inference Protocol"),
        (inputs(), 400, "expected one input, 'images', found 0"),
        (inputs(tensor(), tensor()), 400, "found 2"),
        (request(more=1), 400, "more"),
        (inputs(tensor(name="image")), 400, "expected the input 'images', found 'image'"),
        (inputs(tensor(datatype="FP32")), 422, "found FP32 [3, 8, 8, 3]"),
        (inputs(tensor(shape=[3, 9, 8, 3])), 422, "UINT8 [N, 8, 8, 3]"),
        (inputs(tensor(shape=[-1, 8, 8, 3])), 422, "1 to 256 images"),
        (inputs(tensor(shape=[0, 8, 8, 3], data=[])), 422, "1 to 256 images"),
        (inputs(tensor(shape=[1] * 9)), 400, "8 dimensions"),
        (inputs(tensor(shape=[2, 8, 8, 3])), 422, "asks for 384 numbers, found 576"),
        (inputs(tensor(data=[256] * 576)), 422, "from 0 to 255, found some from 256"),
        (inputs(tensor(data=[-1] * 576)), 422, "whole numbers from 0 to 255"),
        (inputs(tensor(data=[0.5] * 576)), 422, "whole numbers from 0 to 255"),
        (inputs(tensor(data=["1"] * 576)), 422, "whole numbers from 0 to 255"),
        (inputs(tensor(data=[[], *[1] * 575])), 422, "found gaps"),
        (inputs(tensor(data=None)), 400, "data"),
        (inputs(tensor(parameters={"binary_data_size": 4})), 400, "found both"),
        (inputs(tensor(parameters={"shared_memory_region": "r"})), 400, "shared_memory_region"),
        (inputs(tensor(datatype="BYTES", shape=[1], data=["%%"])), 422, "images[0]: expected base64"),
        (inputs(tensor(datatype="BYTES", shape=[2], data=["aaaa"])), 422, "asks for 2 images, found 1"),
        (inputs(tensor(datatype="BYTES", shape=[1], data=["a", "a"])), 422, "more strings"),
        (inputs(tensor(datatype="BYTES", shape=[1], data=[7])), 400, "base64 strings"),
        (request(outputs=[output("logits")]), 400, "'logits'"),
        (request(outputs=[output("exit"), output("exit")]), 400, "twice"),
        (request(outputs=[output("exit", classification=1)]), 400, "classification"),
        (request(outputs=[output("probabilities", classification=0)]), 400, "1 or more"),
        (request(outputs=[output("exit", top=1)]), 400, "unknown parameter 'top'"),
        (request(outputs=[output("exit", binary_data=1)]), 400, "true or false"),
        (request(parameters={"buget": "50%"}), 422, "did you mean 'budget'?"),
        (request(parameters={"timeout": 5}), 422, "deadline_ms"),
        (request(parameters={"sequence_id": 5}), 422, "unknown parameter 'sequence_id'"),
        (request(parameters={"budget": True}), 422, "budget"),
        (request(parameters={"budget": "1"}), 422, "cheapest"),
        (request(parameters={"mode": "soft"}), 422, "mode=average or mode=hard"),
        (request(parameters={"max_drop": 0.1, "deadline_ms": 5}), 422, "contradict"),
        (request(parameters={"binary_data_output": 1}), 400, "true or false"),
        (request(id="x" * 257), 400, "256 characters"),
    ],
)
def test_a_request_that_cannot_be_answered_is_told_why(given: dict[str, Any], status: int, said: str) -> None:
    service, events = fake_service()
    answer = TestClient(create_app(service)).post(INFER, json=given)
    body = answer.json()
    assert (answer.status_code, body["status"]) == (status, status), body
    assert said in body["error"], body["error"]
    assert body["error"] == body["detail"]
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert len(events) == 1


def test_a_parameter_comes_once() -> None:
    answer = client().post(f"{INFER}?budget=50%25", json=request(parameters={"budget": "60%"}))
    assert (answer.status_code, "give it once" in answer.json()["error"]) == (422, True)


@pytest.mark.parametrize(
    ("length", "said"), [("9999", "at most the body's"), ("-1", "found '-1'"), ("x", "found 'x'")]
)
def test_a_length_that_cannot_be(length: str, said: str) -> None:
    headers = {"Inference-Header-Content-Length": length}
    answer = client().post(INFER, json=request(), headers=headers)
    assert (answer.status_code, said in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    ("raw", "size", "said"),
    [
        (b"\x05\x00\x00\x00abc", 7, "its length says 5 bytes, found 3"),
        (b"\x01\x00", 2, "found 0"),
        (b"", 0, "asks for 1 images, found 0"),
        (struct.pack("<I", 1) + b"x", 4, "5 bytes behind the JSON, found 4"),
        (struct.pack("<I", 1) + b"x", 5, "images[0]: expected a PNG"),
    ],
)
def test_raw_bytes_that_are_no_images(raw: bytes, size: int, said: str) -> None:
    given = {"name": "images", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": size}}
    answer = client().post(INFER, **in_binary(inputs(given), raw))
    assert 400 <= answer.status_code < 500
    assert said in answer.json()["error"]


def test_the_limits_of_classify_hold() -> None:
    given = inputs({"name": "images", "datatype": "BYTES", "shape": [1]})
    given["inputs"][0]["data"] = [base64.b64encode(png(20)).decode()]
    answer = client(max_pixels=300).post(INFER, json=given)
    assert (answer.status_code, "20x20" in answer.json()["error"]) == (413, True)
    assert client(max_request_pixels=300).post(INFER, json=given).status_code == 413
    assert client(max_body_bytes=100).post(INFER, json=given).status_code == 413
    assert client(max_images=2).post(INFER, json=request()).status_code == 422
    assert client().post(INFER, json=given, headers={"Content-Encoding": "gzip"}).status_code == 415
    assert client().post(INFER, content=b"x", headers={"Content-Type": "image/png"}).status_code == 415


@pytest.mark.parametrize("path", ["/v2/nothing", "/v2/repository/models/tiny/load"])
def test_every_error_below_v2_has_the_protocols_word(path: str) -> None:
    answer = client().post(path)
    assert (answer.status_code, bool(answer.json()["error"])) == (404, True)
    assert client().post("/v2/repository/index", content=b"[]").status_code == 400


def test_the_document_of_the_api_describes_it() -> None:
    paths = client().get("/openapi.json").json()["paths"]
    assert {"/v2", "/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer"} <= set(paths)


def test_a_failure_of_the_engine_is_no_refusal_and_not_shown() -> None:
    model = FakeModel(held=True)
    service, events = fake_service(model)

    def fail_soon() -> None:
        while not model.works:
            pass
        model.works[0].future.set_exception(EngineError("stage 2 failed on secret"))

    failing = threading.Thread(target=fail_soon)
    failing.start()
    answer = TestClient(create_app(service)).post(INFER, json=request())
    failing.join()
    assert (answer.status_code, "secret" in answer.text, events) == (500, False, [])


def test_the_class_of_a_request_and_what_a_brown_out_left_of_its_budget() -> None:
    model = FakeModel(budget_share=0.5)
    asked = client(model)
    answer = asked.post(INFER, json=request(parameters={"priority": "low"}))
    assert answer.json()["parameters"] == {"brownout": 0.5}
    assert model.asked[-1][1].priority == "low"
    assert "parameters" not in client().post(INFER, json=request()).json()
    refused = asked.post(INFER, json=request(parameters={"priority": 1}))
    assert refused.status_code == 422
    assert "expected priority to be one of high, normal, low, found 1" in refused.json()["error"]
