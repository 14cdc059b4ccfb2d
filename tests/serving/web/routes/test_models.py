from pathlib import Path

import pytest
from starlette.testclient import TestClient

from serving.bundle.manifest import Arithmetic
from serving.events import AgreementMeasured, BudgetCorrected, DriftMeasured, Event
from serving.model import Model
from serving.monitoring.health import Health
from serving.monitoring.shadow import Agreement
from serving.settings import Settings
from serving.telemetry.metrics import Metrics
from serving.web.app import create_app
from serving.web.service import Service
from tests.bundles import tiny_bundle
from tests.serving.web.fakes import FakeModel, fake_service


def client(*models: FakeModel, **settings: object) -> TestClient:
    return TestClient(create_app(fake_service(*models, **settings)[0]))


def test_models_are_described() -> None:
    body = client(FakeModel("one"), FakeModel("two", alive=False), default_budget="50%").get("/models").json()
    assert body["default_model"] is None
    one, two = body["models"]
    assert (one["name"], one["alive"], two["name"], two["alive"]) == ("one", True, "two", False)
    assert [entry["flops"] for entry in one["exits"]] == [1000, 3000, 7000]
    assert [entry["exit"] for entry in one["exits"]] == [1, 2, 3]
    assert all(0 < entry["validation_accuracy"] <= 1 for entry in one["exits"])
    assert one["classes"] == 4
    assert (one["providers"], one["features_on"]) == (["CPUExecutionProvider"], "host")
    assert one["preprocessing"]["height"] == 8
    assert (one["default_budget"], one["default_budget_flops"]) == ("50%", 3500)


def test_what_computes_a_model_and_what_its_exits_take_is_told() -> None:
    model = FakeModel(
        exit_seconds=(0.001, 0.002, 0.004),
        runtime_milliseconds={"onnxruntime": 2.0, "openvino": 1.5},
        arithmetic=Arithmetic(runtime="openvino", precision="bfloat16"),
    )
    body = client(model, default_budget="3ms").get("/models/tiny").json()
    assert (body["runtime"], body["inference_precision"]) == ("openvino", "bfloat16")
    assert body["runtime_ms"] == {"onnxruntime": 2.0, "openvino": 1.5}
    assert body["arithmetic_differs"] is None
    assert [entry["ms"] for entry in body["exits"]] == [1, 2, 4]
    assert (body["default_budget"], body["default_budget_flops"]) == ("3ms", 5000)


def test_the_only_model_is_the_default() -> None:
    assert client().get("/models").json()["default_model"] == "tiny"
    assert client().get("/models/tiny").json()["name"] == "tiny"


def test_a_plan_says_what_a_budget_buys() -> None:
    assert client().get("/models/tiny/plan?budget=5kFLOPs").json() == {
        "model": "tiny",
        "budget_flops": 5000,
        "expected_flops": 4000,
        "budget_ms": None,
        "expected_ms": None,
        "expected_accuracy": 0.875,
        "expected_accuracy_interval": [0.8, 0.9],
        "images": 200,
        "judged_on": "held out",
        "truth": "labels",
        "share_of_original": None,
        "exits": [
            {"exit": 1, "flops": 1000, "ms": None, "threshold": 0.75, "share": 0.5},
            {"exit": 2, "flops": 3000, "ms": None, "threshold": 1.5, "share": 0.0},
            {"exit": 3, "flops": 7000, "ms": None, "threshold": None, "share": 0.5},
        ],
        "certificate": None,
    }
    assert client().get("/models/tiny/plan").json()["budget_flops"] == 7000


def test_a_plan_of_a_guarantee_shows_the_certificate() -> None:
    certificate = {"max_drop": 0.02, "delta": 0.05, "images": 400, "risk": 0.01, "p_value": 0.02}
    body = client().get("/models/tiny/plan?max_drop=0.02").json()
    assert (body["certificate"], body["budget_flops"]) == (certificate, 4200)
    capped = client().get("/models/tiny/plan?max_drop=0.02&budget=5kFLOPs").json()
    assert (capped["certificate"], capped["budget_flops"]) == (certificate, 5000)


def test_a_plan_of_nothing_is_of_what_the_server_promises_by_default() -> None:
    promising = TestClient(create_app(fake_service(max_drop=0.02)[0]))
    assert promising.get("/models/tiny/plan").json()["certificate"]["max_drop"] == 0.02
    assert promising.get("/models/tiny/plan?budget=50%25").json()["certificate"] is None


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/models/other", 404),
        ("/models/other/plan?budget=50%25", 404),
        ("/models/tiny/plan?budget=1", 422),
        ("/models/tiny/plan?budget=50%25&budget=50%25", 422),
        ("/models/tiny/plan?buget=50%25", 422),
        ("/models/tiny/plan?max_drop=1", 422),
        ("/models/tiny/plan?max_drop=little", 422),
        ("/models/tiny/plan?mode=hard", 422),
    ],
)
def test_refusals_are_problems(path: str, status: int) -> None:
    response = client().get(path)
    assert (response.status_code, response.json()["status"]) == (status, status)
    assert response.headers["content-type"] == "application/problem+json"


def test_health_of_a_model_that_has_measured_nothing() -> None:
    body = client().get("/models/tiny/health").json()
    exits = [
        {
            "exit": number,
            "drift_score": None,
            "drift_limit": None,
            "drift_alarm": False,
            "drift_of": None,
            "drift_images": None,
            "watched": 0,
            "agreement": None,
            "agreement_expected": None,
            "agreement_alarm": False,
        }
        for number in (1, 2, 3)
    ]
    assert body == {
        "model": "tiny",
        "status": "ok",
        "controller": "off",
        "corrections": [],
        "exits": exits,
        "unchecked": 0,
    }


def test_health_sums_up_corrections_drift_and_agreement() -> None:
    state = Health(
        alive=True,
        corrections={"24.1%": BudgetCorrected("tiny", "24.1%", 0.9, 0.02)},
        drift={
            1: DriftMeasured(
                "tiny", 1, score=0.3, limit=0.13, alarm=True, changed=False, of="classes", rows=4000
            )
        },
        agreement={0: Agreement(watched=8, agreed=6)},
        unchecked=3,
        agreement_of_late={0: AgreementMeasured("tiny", 0, 0.75, 0.95, alarm=True, changed=False, images=80)},
    )
    body = client(FakeModel(state=state)).get("/models/tiny/health").json()
    assert (body["status"], body["controller"], body["unchecked"]) == ("drifting", "on", 3)
    assert body["corrections"] == [{"budget_class": "24.1%", "factor": 0.9, "error": 0.02}]
    assert (body["exits"][0]["watched"], body["exits"][0]["agreement"]) == (8, 0.75)
    assert [one["agreement_alarm"] for one in body["exits"]] == [True, False, False]
    assert body["exits"][0]["agreement_expected"] == 0.95
    assert {name: value for name, value in body["exits"][1].items() if name.startswith("drift")} == {
        "drift_score": 0.3,
        "drift_limit": 0.13,
        "drift_alarm": True,
        "drift_of": "classes",
        "drift_images": 4000,
    }
    assert client(FakeModel(state=state)).get("/models/other/health").status_code == 404


def test_no_max_drop_is_the_servers_fault(tmp_path: Path) -> None:
    with Model.load(tiny_bundle(tmp_path / "tiny")) as model:
        events: list[Event] = []
        service = Service({"tiny": model}, Settings(), Metrics(), events.append)
        http = TestClient(create_app(service), raise_server_exceptions=False)
        for max_drop in ("5e-324", "1e-300", "1e-20", "1e-18", "1e-9", "0.0001", "0.99999999999999994"):
            for answer in (
                http.get(f"/models/tiny/plan?max_drop={max_drop}"),
                http.post(
                    f"/classify?max_drop={max_drop}", content=b"", headers={"content-type": "image/png"}
                ),
            ):
                assert answer.status_code in {200, 422}, (max_drop, answer.text)
        assert (
            "the least that these can prove is max_drop=0.0"
            in http.get("/models/tiny/plan?max_drop=1e-20").json()["detail"]
        )
