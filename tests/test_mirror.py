"""The tests mirror the source: `tests/serving/policy/test_budget.py` is of `serving/policy/budget.py`."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("offramp", "serving", "training")
# Tests of something else than one module, and why.
EXCEPTIONS = {
    "offramp/test_main.py": "`__main__.py`",
    "offramp/test_offramp.py": "`__init__.py`",
    "serving/images/test_golden.py": "golden pixels of all decoders together",
    "serving/scheduler/test_batch_cost_curve.py": "a class of cost.py with properties of its own",
    "serving/scheduler/test_compact.py": "a function of stage_queue.py with properties of its own",
    "serving/scheduler/test_scheduler_properties.py": "properties of scheduler.py, found by hypothesis",
    "serving/test_command_line.py": "the package as its callers use it",
    "serving/test_explain.py": "what model, scheduler and answer do together",
    "serving/test_hard_calibrations.py": "policies, guarantee and check on the same hard sets",
    "serving/test_made_before.py": "what earlier versions wrote",
    "serving/test_promises.py": "promises that several packages keep together",
    "serving/web/console/test_in_a_browser.py": "the pages in a real browser",
    "serving/web/grpc/test_grpc.py": "the package as its clients use it",
    "serving/web/oip/test_http.py": "the package as its clients use it",
    "serving/web/test_openapi.py": "the whole of HTTP as it describes itself",
    "serving/web/test_coalescing.py": "a class of protocol.py",
    "serving/web/test_connections.py": "limits of a connection, on a real server",
    "training/demo/test_main.py": "the command, whose module has no name of its own",
    "training/methods/test_feature_split.py": "methods on a model with split features",
    "training/models/test_backbone_road.py": "from any backbone to a bundle",
    "training/models/test_sdn.py": "both SDN architectures",
    "training/runs/test_made_before.py": "a run of an earlier version, as it was written",
    "training/test_loss_weighting.py": "the weightings of schedules.py",
}
MOST_MODULES = 20


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_has_more_modules_than_a_reader_can_survey(package: str) -> None:
    counts = {
        folder: len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        for folder in {path.parent for path in (ROOT / package).rglob("*.py")}
    }
    assert {folder: count for folder, count in counts.items() if count > MOST_MODULES} == {}


def mirrored() -> list[str]:
    """The test files of the packages, relative to tests/."""
    tests = ROOT / "tests"
    return sorted(
        path.relative_to(tests).as_posix()
        for package in PACKAGES
        for path in (tests / package).rglob("test_*.py")
    )


def source(test: str) -> Path:
    path = Path(test)
    return ROOT / path.parent / path.name.removeprefix("test_")


@pytest.mark.parametrize("test", mirrored())
def test_a_test_lies_where_its_module_lies(test: str) -> None:
    assert source(test).is_file() != (test in EXCEPTIONS), f"no {source(test)}: move or list it"


def test_exceptions_exist() -> None:
    assert EXCEPTIONS.keys() <= set(mirrored())
