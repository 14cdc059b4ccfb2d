"""What watches the server: deploy/ names only what the server exposes, and the rules do what they say."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.errors import EngineError, OverloadedError
from serving.events import (
    AccuracyMeasured,
    AgreementMeasured,
    AnswerLabelled,
    AnswersCompared,
    BudgetCorrected,
    BudgetsLowered,
    DriftMeasured,
    Event,
    ExitShadowed,
    KeyLimited,
    ModelLoaded,
    ModelRefused,
    RequestDone,
    RequestFailed,
    RequestRefused,
    ShadowCompared,
    StageRan,
)
from serving.telemetry.metrics import KINDS, Metrics
from serving.web.grpc.metrics import GrpcMetrics

DEPLOY = Path(__file__).parents[1] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
RULE_TESTS = DEPLOY / "prometheus" / "rules.test.yml"
DASHBOARD = DEPLOY / "grafana" / "offramp.json"
SCRAPE_LABELS = {"job", "instance"}  # Prometheus adds them
NAME = re.compile(r"[a-z_:]*offramp_[a-z_0-9:]+")
SELECTOR = re.compile(rf"({NAME.pattern})\{{([^}}]*)\}}")
GROUPING = re.compile(r"\b(?:by|on|group_left) \(([^)]*)\)")


def exposition() -> str:
    """What a server exposes once all has happened."""
    metrics = Metrics()
    metrics.loaded("m", (10, 90), (1, 2))
    metrics.answered("/classify", 200, 0.1)
    metrics.built("1.0", "3.11")
    for name in ("offramp_queue_rows", "offramp_queue_capacity_rows"):  # as Service.show does
        metrics.watch_models(name, "Images.", lambda: {"m": 1.0})
    calls = GrpcMetrics(metrics.registry)
    calls.requests.labels("ModelInfer", "OK").inc()
    calls.seconds.labels("ModelInfer").observe(0.1)
    events: tuple[Event, ...] = (
        StageRan("m", stage=0, rows=1, seconds=0.1, queue_seconds=(0.1,)),
        *(RequestDone("m", (0,), (10,), budget_flops=50.0, seconds=0.1, kind=kind) for kind in KINDS),
        RequestFailed("m", EngineError.__name__, rows=1),
        RequestRefused(OverloadedError.__name__),
        KeyLimited("ann", "flops"),
        BudgetCorrected("m", "24.1%", factor=1.1, error=0.1),
        AnswerLabelled("m", 0, right=True),
        AccuracyMeasured("m", alarm=False, changed=False, bound=0.02),
        BudgetsLowered("m", "normal", share=0.5),
        ExitShadowed("m", 0, agreed=True, extra_flops=80),
        AgreementMeasured("m", 0, share=0.9, expected=0.9, alarm=False, changed=False, images=100),
        DriftMeasured("m", 0, score=0.1, limit=0.2, alarm=False, changed=False, of="scores", rows=9),
        ModelLoaded("m", "2", seconds=0.1, memory_bytes=100),
        ModelRefused("m", "3", "no segments"),
        AnswersCompared("m", "2", "shadow", images=1, flops=10, confidence=0.5),
        ShadowCompared("m", "2", images=1, agreed=1, missed=0),
    )
    for event in events:
        metrics(event)
    return metrics.text().decode()


def exposed() -> dict[str, set[str]]:
    """Every sample of that, with its labels."""
    families = text_string_to_metric_families(exposition())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def recorded() -> dict[str, set[str]]:
    """Every recording rule's name, with the labels that its level is made of."""
    levels = ("budget_class", "job", "model", "exit", "kind", "stage", "status", "error")
    names = re.findall(r"^ +- record: (\S+)$", RULES.read_text(), re.MULTILINE)
    return {name: set(re.findall("|".join(levels), name.partition(":")[0])) for name in names}


def alerts() -> list[str]:
    return re.findall(r"^ +- alert: (\S+)$", RULES.read_text(), re.MULTILINE)


def expressions(node: Any) -> Iterator[str]:
    """Every PromQL expression of a dashboard: its panels' targets, annotations and variables."""
    if isinstance(node, dict):
        yield from (node[key] for key in ("expr", "definition") if key in node)
        for value in node.values():
            yield from expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value)


def bases(names: set[str]) -> set[str]:
    """Metrics without what their samples add to the name."""
    return {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in names}


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def watching() -> dict[str, str]:
    """What is looked through for names: each file's PromQL."""
    rules = "\n".join(line for line in RULES.read_text().splitlines() if not line.lstrip().startswith("#"))
    return {"rules": rules, "tests": RULE_TESTS.read_text(), "dashboard": "\n".join(expressions(dashboard()))}


@pytest.mark.parametrize("where", ["rules", "tests", "dashboard"])
def test_every_metric_that_is_watched_is_exposed_or_recorded(where: str) -> None:
    used = set(NAME.findall(watching()[where]))
    assert len(used) > 10
    assert used - exposed().keys() - recorded().keys() == set()


@pytest.mark.parametrize("where", ["rules", "tests", "dashboard"])
def test_every_label_in_a_selector_is_one_of_its_metric(where: str) -> None:
    known = exposed() | recorded()
    selectors = SELECTOR.findall(watching()[where])
    assert selectors
    for name, matchers in selectors:
        labels = set(re.findall(r"(\w+)(?==|!=|=~|!~)", matchers))
        assert labels <= known[name] | SCRAPE_LABELS, name


@pytest.mark.parametrize("where", ["rules", "dashboard"])
def test_groups_are_made_by_labels_that_exist(where: str) -> None:
    known = set().union(*exposed().values()) | SCRAPE_LABELS
    groupings = GROUPING.findall(watching()[where])
    assert groupings
    assert {label for labels in groupings for label in labels.split(", ") if label} <= known


def test_every_metric_of_the_server_is_watched_by_a_rule_or_a_panel() -> None:
    # One includes the caller's upload, one is for profiling, two say less than errors by kind and `model_up`.
    unwatched = {"offramp_http_request_seconds", "offramp_stage_seconds", "offramp_failed_images"}
    unwatched.add("offramp_worker_failures")
    texts = watching()
    names = {name for name in exposed() if name.startswith("offramp_") and not name.endswith("_created")}
    assert bases(names & set(NAME.findall(texts["rules"] + texts["dashboard"]))) == bases(names) - unwatched


def test_the_dashboard_has_unique_panels_that_all_use_its_data_source_and_say_what_they_show() -> None:
    board = dashboard()
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "job", "model"]
    charts = [panel for panel in panels if panel["type"] != "row"]
    assert len(charts) > 10
    for panel in charts:
        assert panel["description"]
        assert panel["targets"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        assert all("$job" in target["expr"] for target in panel["targets"])


def test_no_two_panels_of_the_dashboard_overlap() -> None:
    cells = [
        (x, y)
        for panel in dashboard()["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("name", alerts())
def test_every_alert_is_tested_to_fire_and_not_to(name: str) -> None:
    outcomes = re.findall(rf"alertname: {name}\n +exp_alerts:(.*)\n", RULE_TESTS.read_text())
    assert {outcome.strip() for outcome in outcomes} == {"", "[]"}


def test_the_page_lists_every_alert() -> None:
    rows = re.findall(r"^\| `(Offramp\w+)` \|", (DEPLOY / "README.md").read_text(), re.MULTILINE)
    assert rows == alerts()


@pytest.mark.parametrize("name", recorded())
def test_every_recording_rule_is_tested_to_have_its_value(name: str) -> None:
    tested = rf"expr: 'round\({name}[{{,].*\n.*\n +exp_samples:\n +- \{{labels: "
    assert re.search(tested, RULE_TESTS.read_text())


def promtool(*arguments: str | Path, given: str | None = None) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip(
            "promtool is not on the PATH: it comes with Prometheus; `.ci/promtool FOLDER` unpacks Debian's"
        )
    done = subprocess.run([program, *arguments], input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_no_fault_with_the_names_and_the_form_of_what_is_exposed() -> None:
    promtool("check", "metrics", given=exposition())


def test_promtool_finds_no_fault_with_the_rules() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)


def test_promtool_finds_no_fault_with_the_configuration() -> None:
    promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yml")


def test_the_rules_pass_their_unit_tests() -> None:
    promtool("test", "rules", RULE_TESTS)
