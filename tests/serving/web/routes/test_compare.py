from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from serving.hosting import Hosting, host
from serving.processes.parts import service_of
from serving.settings import Settings
from serving.telemetry.logs import get_logger
from serving.telemetry.observers import Observers
from serving.web.access.control import Access
from serving.web.app import create_app
from tests.bundles import tiny_bundle, tiny_images
from tests.serving.web.posting import NPY, npy

Server = tuple[TestClient, Hosting]
REPOSITORY = "/v2/repository/models/tiny"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("models")
    tiny_bundle(models / "tiny" / "1")
    tiny_bundle(models / "tiny" / "2", seed=1)
    settings = Settings(models=models, model_version="tiny=1", shadow="tiny=2:1.0", threads=1)
    observers = Observers.of(get_logger())
    hosting = host(settings, observers, get_logger())
    service = service_of(hosting.live, settings, observers, hosting.repository)
    yield TestClient(create_app(service, Access(allow_admin=True))), hosting
    hosting.close(5)


def classify(client: TestClient, seed: int, query: str = "") -> str:
    response = client.post(f"/classify?budget=60%25{query}", content=npy(tiny_images(4, seed)), headers=NPY)
    assert response.status_code == 200
    return response.headers["offramp-model-version"]


def test_a_canary_and_a_shadow_are_compared_with_intervals(server: Server) -> None:
    client, hosting = server
    split = {"version": "2", "share": 0.5}
    assert client.post(f"{REPOSITORY}/canary", json=split).json()["canary"] == split
    found = [classify(client, seed) for seed in range(30)]
    assert set(found) == {"1", "2"}
    body = client.get("/models/tiny/compare").json()
    assert (body["model"], body["current"]) == ("tiny", "1")
    canary, shadow = body["comparisons"]
    assert (canary["role"], canary["running"], canary["share"]) == ("canary", True, 0.5)
    assert canary["current"]["requests"] == found.count("1")
    assert canary["other"]["images"] == 4 * found.count("2")
    low, high = canary["difference"]["flops"]["interval"]
    assert low <= canary["difference"]["flops"]["mean"] <= high
    assert sum(canary["other"]["exits"].values()) == canary["other"]["images"]
    seen = shadow["agreement"]
    assert shadow["role"] == "shadow"
    assert 0 < seen["images"] + seen["missed"] <= 4 * found.count("1")
    exposed = client.get("/metrics").text
    answered = [line.split()[1] for line in exposed.splitlines() if line.startswith("offramp_exits_total")]
    assert sum(map(float, answered)) == 4 * len(found)  # the shadow's answers are nobody's
    assert (
        f'offramp_compared_images_total{{model="tiny",role="canary",version="2"}} {4.0 * found.count("2")}'
        in exposed
    )
    assert hosting.live.slot("tiny").canary is not None
    assert client.post(f"{REPOSITORY}/canary").json()["canary"] is None
    assert client.get("/models/tiny/compare").json()["comparisons"][0]["running"] is False
    assert client.get("/models/none/compare").status_code == 404


def test_no_body_ends_a_canary_where_no_header_says_that_there_is_none(server: Server) -> None:
    client = server[0]
    split = {"version": "2", "share": 0.5}
    assert client.post(f"{REPOSITORY}/canary", json=split).json()["canary"] == split
    bare = client.build_request("POST", f"{REPOSITORY}/canary")
    del bare.headers["Content-Length"]  # as `curl -X POST` sends it
    answer = client.send(bare)
    assert (answer.status_code, answer.json()["canary"]) == (200, None)


@pytest.mark.parametrize(
    ("path", "body", "status", "names"),
    [
        ("canary", {"version": "2", "share": 2}, 400, "at most 1"),
        ("canary", {"version": "9", "share": 0.5}, 404, "expected 1 or 2"),
        ("canary", {"version": "1", "share": 0.5}, 409, "answers for 'tiny' already"),
        ("shadow", {"version": "dogs", "share": 0.5}, 404, "no model 'dogs'"),
        ("promote", {"version": "9"}, 404, "expected 1 or 2"),
        ("promote", {}, 400, "version"),
        ("load", {"parameters": {"config": "{}"}}, 400, "as its bundle says"),
        ("load", {"parameters": {"versoin": "2"}}, 400, "unknown parameter 'versoin'"),
        ("unload", {"parameters": {"version": "1"}}, 409, "promote another one first"),
    ],
)
def test_what_cannot_be_done_is_a_problem_that_says_why(
    server: Server, path: str, body: dict[str, object], status: int, names: str
) -> None:
    answer = server[0].post(f"{REPOSITORY}/{path}", json=body)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert names in answer.json()["error"]


def test_the_index_lists_versions_and_only_who_may_changes_them(server: Server) -> None:
    client = server[0]
    index = client.post("/v2/repository/index").json()
    assert [(each["version"], each["state"]) for each in index] == [("1", "READY"), ("2", "READY")]
    assert client.get("/v2/models/tiny").json()["versions"] == ["1", "2"]
    stats = client.get("/v2/models/stats").json()["model_stats"]
    assert [each["version"] for each in stats] == ["1", "2"]


def test_all_versions_of_a_server_take_turns_on_the_same_cores(server: Server) -> None:
    versions = server[1].live.slot("tiny").versions.values()
    assert len({version.model._worker._share._cores for version in versions}) == 1
    assert len(versions) == 2
