"""The Helm chart as Helm renders it, from an environment of its own; `make test-clients` runs it."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART, MANIFESTS = ROOT / "deploy" / "helm" / "offramp", ROOT / "deploy" / "kubernetes"
OF_HELM = ("app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "helm.sh/chart")
VALUES: Sequence[dict[str, Any]] = (
    {},
    {"autoscaling": {"enabled": True}},
    {"modelsClaim": "", "settings": {"OFFRAMP_MODELS": "hf://ada/pets", "OFFRAMP_MAX_QUEUE_ROWS": 512}},
    {"replicas": "two"},
    {"settings": {"PATH": "/"}},
    {"replica": 3},
)


@pytest.fixture(scope="module")
def helm() -> dict[str, Any]:
    python = Path(os.environ["OFFRAMP_CLIENTS"]).absolute() / "helm" / "bin" / "python"
    words = [python, Path(__file__).with_name("helm_render.py"), CHART]
    done = subprocess.run(words, input=json.dumps(VALUES), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def documents(helm: dict[str, Any], case: int) -> list[dict[str, Any]]:
    files = helm["rendered"][case]
    found = [yaml.safe_load_all(text) for name, text in files.items() if name != "NOTES.txt"]
    return [document for each in found for document in each if document]


def without_helms_labels(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_helms_labels(one) for key, one in value.items() if key not in OF_HELM}
    return [without_helms_labels(one) for one in value] if isinstance(value, list) else value


def by_kind(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {document["kind"]: without_helms_labels(document) for document in found}


def written(*names: str) -> dict[str, Any]:
    texts = [(MANIFESTS / name).read_text() for name in names]
    return by_kind([document for text in texts for document in yaml.safe_load_all(text)])


def test_helm_finds_no_more_than_that_there_is_no_icon(helm: dict[str, Any]) -> None:
    assert [message for message in helm["found"] if "icon is recommended" not in str(message)] == []


def test_by_itself_it_gives_the_manifests_that_are_written(helm: dict[str, Any]) -> None:
    assert by_kind(documents(helm, 0)) == written("offramp.yaml")


def test_with_autoscaling_it_gives_those_too_and_leaves_the_number_to_it(helm: dict[str, Any]) -> None:
    expected = written("offramp.yaml", "autoscaling.yaml")
    del expected["Deployment"]["spec"]["replicas"]
    assert by_kind(documents(helm, 1)) == expected


def test_bundles_of_the_hub_need_no_volume(helm: dict[str, Any]) -> None:
    pod = by_kind(documents(helm, 2))["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert "volumes" not in pod
    assert "volumeMounts" not in container
    assert {one["name"]: one["value"] for one in container["env"]} == {
        "OFFRAMP_MODELS": "hf://ada/pets",
        "OFFRAMP_MAX_QUEUE_ROWS": "512",
    }


@pytest.mark.parametrize("case", range(3))
def test_kubernetes_takes_all_of_it(helm: dict[str, Any], case: int) -> None:
    for document in documents(helm, case):
        if document["kind"] != "PodMonitor":  # the operator's
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize(("case", "named"), [(3, "replicas"), (4, "PATH"), (5, "replica")])
def test_values_that_are_none_are_refused_by_name(helm: dict[str, Any], case: int, named: str) -> None:
    assert named in helm["rendered"][case]["error"]
