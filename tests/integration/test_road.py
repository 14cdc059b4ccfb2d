"""The whole road on real CIFAR-10 by real processes: fit, evaluate, export, serve, answers under budgets."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest

from serving.bundle import Bundle, read_bundle
from training.data.source import load_source
from training.demo.server import running_server
from training.evaluation.predict import predict
from training.runs.run import Run

EPOCHS = 3
FIT = [
    *("--model", "msdnet-tiny", "--method", "joint", "--epochs", str(EPOCHS), "--schedule", "cosine"),
    *("--train-limit", "3000", "--validation-share", "0.05", "--threads", "1", "--workers", "0"),
]
PIECE = 250  # images in one request
LADDER = (0.15, 0.4, 0.6, 0.85)  # budgets, on the way from the cheapest exit to full depth


@dataclass(frozen=True)
class Road:
    """What the commands left behind, and the test images with what torch says of them."""

    run: Run
    bundle: Bundle
    address: str
    images: npt.NDArray[np.uint8]  # [N, 32, 32, 3]
    labels: npt.NDArray[np.int64]  # [N]
    probabilities: npt.NDArray[np.float32]  # [N, K, C], by torch


def command(name: str, *arguments: str) -> None:
    words = [sys.executable, "-P", "-m", "offramp", name, *arguments]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{name}: {done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def road(cifar_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    place = tmp_path_factory.mktemp("road")
    folder, models = place / "run", place / "models"
    command("fit", "--dataset", str(cifar_root / "cifar10"), *FIT, "--out", str(folder))
    command("evaluate", str(folder), "--threads", "1")
    command("export", str(folder), "--out", str(models / "cifar"))
    command("check", str(models / "cifar"))
    run = Run.open(folder)
    data = run.data(batch_size=PIECE)
    probabilities, labels = predict(run.model(), data.test())
    images = np.concatenate([batch.images.numpy() for batch in data.test()])
    # Without the controller the thresholds stand still, and the same image gets the same answer twice.
    # Nor may a busy machine lower budgets.
    flags = ["--threads", "1", "--controller", "off", "--brownout", "off"]
    with running_server(models, place / "server.log", *flags) as address:
        yield Road(run, read_bundle(models / "cifar"), address, images, labels, probabilities)


def classify(client: httpx.Client, images: npt.NDArray[np.uint8], budget: str) -> list[dict[str, Any]]:
    """Send images [N, H, W, 3] in pieces, as .npy arrays, and return an answer for each."""
    answers: list[dict[str, Any]] = []
    for start in range(0, len(images), PIECE):
        body = io.BytesIO()
        np.save(body, images[start : start + PIECE])
        response = client.post(
            "/classify",
            params={"budget": budget},
            content=body.getvalue(),
            headers={"content-type": "application/x-npy"},
        )
        assert response.status_code == 200, response.text
        answers += response.json()["results"]
    assert len(answers) == len(images)
    return answers


def test_the_run_logged_every_epoch_and_its_evaluation_is_what_torch_says(road: Road) -> None:
    lines = (road.run.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, EPOCHS + 1))
    evaluation = json.loads((road.run.folder / "evaluation" / "evaluation.json").read_text())
    right = (road.probabilities.argmax(-1) == road.labels[:, None]).mean(0)
    assert [row["accuracy"] for row in evaluation["exits"]] == pytest.approx(right.tolist(), abs=2e-3)
    assert right.min() > 0.2  # it did learn: guessing would be right once in ten


@pytest.mark.parametrize("share", LADDER)
def test_every_answer_is_that_of_torch_and_the_budget_is_met(road: Road, share: float) -> None:
    flops = road.bundle.manifest.exit_flops
    budget = flops[0] + share * (flops[-1] - flops[0])
    with httpx.Client(base_url=road.address, timeout=60) as client:
        answers = classify(client, road.images, f"{budget:.0f}")
    assert len(answers) == 10_000
    assert np.mean([answer["flops"] for answer in answers]) == pytest.approx(budget, rel=0.03)

    exits = np.array([answer["exit"] for answer in answers]) - 1
    assert [answer["flops"] for answer in answers] == [flops[exit_index] for exit_index in exits]
    expected = road.probabilities[np.arange(len(exits)), exits]  # [N, C]
    answered = np.array([answer["class_index"] for answer in answers])
    confidence = np.array([answer["confidence"] for answer in answers])
    assert confidence == pytest.approx(expected.max(1), abs=1e-4)
    # The likeliest class may differ only where torch itself finds two equally likely, up to rounding.
    assert expected[np.arange(len(exits)), answered] == pytest.approx(expected.max(1), abs=1e-4)
    classes = road.bundle.manifest.classes
    assert [answer["class_name"] for answer in answers] == [classes[index] for index in answered]


def test_the_published_files_get_the_answers_of_their_pixels(road: Road) -> None:
    part = load_source(road.run.config.dataset).parts["test"]
    with httpx.Client(base_url=road.address, timeout=60) as client:
        by_pixels = classify(client, road.images[:20], "50%")
        for index, answer in enumerate(by_pixels):
            published = part.images[index]["image"]["bytes"]  # PNG or WebP: without a type, the bytes tell
            response = client.post("/classify", params={"budget": "50%"}, content=published)
            assert response.json() == answer


def test_what_the_server_says_of_its_model_is_what_the_bundle_says(road: Road) -> None:
    with httpx.Client(base_url=road.address, timeout=60) as client:
        (listed,) = client.get("/models").json()["models"]
        plan = client.get("/models/cifar/plan", params={"budget": "50%"}).json()
    costs = list(road.bundle.manifest.exit_flops)
    assert [row["exit"] for row in listed["exits"]] == list(range(1, len(costs) + 1))
    assert [row["flops"] for row in listed["exits"]] == costs
    assert plan["expected_flops"] <= costs[-1] / 2
