"""The files that start a server: each passes its own validator, and gives only settings that exist."""

import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from serving.settings import Settings, read_settings
from tests.serving.web.fakes import FakeModel, fake_service

DEPLOY = Path(__file__).parents[1] / "deploy"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
KSERVE = DEPLOY / "kserve"
UNIT = DEPLOY / "systemd" / "offramp.service"


def loaded(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = [document for path in KUBERNETES for document in loaded(path) if document["kind"] == kind]
    return found


def container() -> dict[str, Any]:
    (found,) = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_compose_fits_the_specification_and_names_files_that_exist() -> None:
    (compose,) = loaded(COMPOSE)
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(compose, json.loads(schema.read_text()))
    for config in compose["configs"].values():
        assert (COMPOSE.parent / config["file"]).is_file()
    used = {
        config["source"] for service in compose["services"].values() for config in service.get("configs", ())
    }
    assert used == compose["configs"].keys()


def test_prometheus_scrapes_the_port_that_has_the_metrics() -> None:
    (compose,), (prometheus,) = loaded(COMPOSE), loaded(COMPOSE.with_name("prometheus.yml"))
    settings = read_settings(compose["services"]["server"]["command"])
    assert prometheus["scrape_configs"][0]["static_configs"][0]["targets"] == [
        f"server:{settings.admin_port}"
    ]
    assert prometheus["scrape_configs"][0]["job_name"] == "offramp"


def test_grafana_finds_the_dashboard_and_the_data() -> None:
    (compose,) = loaded(COMPOSE)
    (dashboards,) = loaded(DEPLOY / "grafana" / "provisioning" / "dashboards.yaml")
    (source,) = loaded(DEPLOY / "grafana" / "provisioning" / "datasource.yaml")
    targets = {config["source"]: config["target"] for config in compose["services"]["grafana"]["configs"]}
    assert Path(targets["dashboard"]).parent == Path(dashboards["providers"][0]["options"]["path"])
    assert source["datasources"][0]["url"].split("//")[1].split(":")[0] in compose["services"]


@pytest.mark.parametrize(
    "document",
    [document for path in KUBERNETES for document in loaded(path) if document["kind"] != "PodMonitor"],
    ids=lambda document: document["kind"],
)
def test_each_manifest_of_kubernetes_is_valid(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_the_pods_ports_are_those_of_their_settings() -> None:
    settings = read_settings(container()["args"])
    assert {port["name"]: port["containerPort"] for port in container()["ports"]} == {
        "http": settings.port,
        "metrics": settings.admin_port,
    }
    (endpoint,) = of_kind("PodMonitor")["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("metrics", "/metrics")


def test_a_pod_may_take_as_long_to_stop_and_to_start_as_the_server_does() -> None:
    settings, pod = Settings(), of_kind("Deployment")["spec"]["template"]["spec"]
    stopping = settings.drain_seconds + settings.shutdown_timeout_seconds
    unit = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert unit is not None
    assert min(pod["terminationGracePeriodSeconds"], int(unit[1])) > stopping + 5
    startup = container()["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= settings.load_timeout_seconds


def test_replicas_follow_a_metric_that_the_server_exposes() -> None:
    service, _ = fake_service(FakeModel("one", waiting_rows=7), FakeModel("two"))
    service.show()
    exposed = service.metrics.text().decode().splitlines()
    (metric,) = of_kind("HorizontalPodAutoscaler")["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert {f'{name}{{model="one"}} 7.0', f'{name}{{model="two"}} 0.0'} <= set(exposed)
    capacity = service.settings.max_queue_rows
    assert f'offramp_queue_capacity_rows{{model="one"}} {float(capacity)}' in exposed
    assert float(metric["pods"]["target"]["averageValue"]) < capacity * service.settings.brownout_queue_share


def test_every_selector_finds_the_pods() -> None:
    labels = of_kind("Deployment")["spec"]["template"]["metadata"]["labels"]
    for kind in ("Deployment", "PodDisruptionBudget", "PodMonitor"):
        assert of_kind(kind)["spec"]["selector"]["matchLabels"] == labels
    assert of_kind("Service")["spec"]["selector"] == labels
    assert of_kind("PodMonitor")["spec"]["jobLabel"] in labels


def kserve_container() -> dict[str, Any]:
    (runtime,) = loaded(KSERVE / "runtime.yaml")
    (found,) = runtime["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_the_container_of_kserves_runtime_is_valid_in_a_pod() -> None:
    # Kubernetes' part of it; KServe's own is held against its SDK by `make test-clients`.
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "offramp"},
        "spec": {"containers": [kserve_container()]},
    }
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


def test_kserves_runtime_serves_its_mount_under_the_name_of_the_service(tmp_path: Path) -> None:
    (service,), (runtime,) = loaded(KSERVE / "pets.yaml"), loaded(KSERVE / "runtime.yaml")
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in [one["name"] for one in runtime["spec"]["supportedModelFormats"]]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    # As KServe starts it, but for the place that it mounts.
    container, name = kserve_container(), service["metadata"]["name"]
    words = [word.replace("{{.Name}}", name) for word in container["args"]]
    settings = read_settings(words)
    assert settings.named_models == {name: "/mnt/models"}
    (port,) = container["ports"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert port["containerPort"] == settings.port == int(environment["OFFRAMP_PORT"])
    assert runtime["spec"]["annotations"]["prometheus.kserve.io/port"] == str(settings.admin_port)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == settings.port


def test_systemd_finds_no_fault_with_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not on the PATH: it comes with systemd")
    text = UNIT.read_text()
    (started,) = re.findall(r"^ExecStart=(\S+) serve$", text, re.MULTILINE)
    # It wants the program to exist; that of an installation stands in for it.
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace(started, "/bin/true"))
    done = subprocess.run([program, "verify", "--man=no", unit], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert unit.name not in done.stderr, done.stderr


def test_the_unit_sets_only_settings_that_exist() -> None:
    given = re.findall(r"\bOFFRAMP_([A-Z_]+)=", UNIT.read_text())
    assert {name.lower() for name in given} <= Settings.model_fields.keys()
