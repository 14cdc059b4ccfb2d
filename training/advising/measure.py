"""Alternatives as their users meet them: a server is started and asked over HTTP.

Accuracy and cost are those of all images, sent many at a time. The time is that of single images, one request
after the other: every alternative is asked for the same images in turns, round by round, and an image's time
is the least of all rounds, since other work on the machine only ever adds to it. Images are sent decoded, at
the size that the network takes: decoding costs every alternative the same.
"""

import io
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from serving.bundle import Preprocessing
from training.adopting.adoption import Show
from training.adopting.images import BATCH_SIZE, Pictures, feed_of
from training.advising.alternatives import Alternative
from training.advising.config import AdviseConfig
from training.advising.frontier import Measured
from training.data.batches import grouped
from training.demo.server import START_SECONDS, running_server
from training.errors import DemoError
from training.evaluation.curves import Floats

SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
"""The budgets of alternatives that leave early, as shares of the dearest network's FLOPs."""

FLAGS = ("--sample-share", "0")
"""Of the server: no images are checked in idle time, which single requests leave plenty of."""

_PIECE = 64
_PIECE_BYTES = 8 << 20
_TIMEOUT_SECONDS = 120.0
_SECONDS_A_BUNDLE = 20.0
_WARM_UP = 3

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Point:
    alternative: Alternative
    budget_flops: float | None
    images: Images

    @property
    def query(self) -> dict[str, str]:
        budget = "100%" if self.budget_flops is None else repr(self.budget_flops)
        return {"model": self.alternative.bundle.name, "budget": budget}


@dataclass(frozen=True)
class _Answers:
    right: npt.NDArray[np.bool_]
    flops: Floats
    exits: npt.NDArray[np.int64]
    seconds: float


def budgets_of(exit_flops: Sequence[int], full_flops: float, asked: float | None) -> Sequence[float | None]:
    """Return the budgets that an alternative is measured under.

    Args:
        exit_flops: [K], per image.
        full_flops: the dearest network's.
        asked: the user's own budget, where there is one.

    >>> budgets_of([40, 160], 100, asked=45.0)
    [40.0, 45.0, 50.0, 60.0, 70.0, 80.0, 100.0, 160.0]
    >>> budgets_of([100], 100, asked=45.0)
    [None]
    """
    if len(exit_flops) == 1:
        return [None]
    least, most = float(exit_flops[0]), float(exit_flops[-1])
    wanted = [share * full_flops for share in SHARES] + ([] if asked is None else [asked])
    return sorted({least, *(budget for budget in wanted if least < budget < most), most})


def measure(
    alternatives: Sequence[Alternative],
    test: Pictures,
    expected: Sequence[str],
    full_flops: float,
    asked: float | None,
    config: AdviseConfig,
    scratch: Path,
    show: Show,
) -> list[Measured]:
    """Serve alternatives and measure each under its budgets.

    Args:
        alternatives: what is compared.
        test: the images.
        expected: the name of each one's class.
        full_flops: the dearest network's.
        asked: the user's own budget, where there is one.
        config: the settings.
        scratch: an empty folder.
        show: hears how far each step is.

    Raises:
        DataError: an image cannot be read.
        DemoError: the server did not start, or did not answer.
    """
    served = scratch / "models"
    for alternative in alternatives:
        _link(alternative.bundle.folder, served / alternative.bundle.name)
    names = np.array(expected)
    decoded: dict[str, Images] = {}
    points = []
    for alternative in alternatives:
        spec = alternative.bundle.manifest.preprocessing
        key = spec.model_dump_json()
        if key not in decoded:
            decoded[key] = _decoded(test, spec, scratch, len(decoded))
        budgets = budgets_of(alternative.bundle.manifest.exit_flops, full_flops, asked)
        points += [_Point(alternative, budget, decoded[key]) for budget in budgets]
    patience = START_SECONDS + _SECONDS_A_BUNDLE * len(alternatives)
    with (
        running_server(served, scratch / "server.log", *FLAGS, start_seconds=patience) as address,
        httpx.Client(base_url=address, timeout=_TIMEOUT_SECONDS) as client,
    ):
        answers = []
        for number, point in enumerate(points, start=1):
            answers.append(_all(client, point, names))
            show("asking for all images", number, len(points))
        times = _times(client, points, config, show)
    return [_measured(*each) for each in zip(points, answers, times, strict=True)]


def _all(client: httpx.Client, point: _Point, expected: npt.NDArray[np.str_]) -> _Answers:
    step = max(1, min(_PIECE, _PIECE_BYTES // point.images[0].nbytes))
    begun = perf_counter()
    results: list[dict[str, Any]] = []
    for start in range(0, len(point.images), step):
        results += _ask(client, point.images[start : start + step], point.query)
    seconds = perf_counter() - begun
    return _Answers(
        np.array([result["class_name"] for result in results]) == expected,
        np.array([result["flops"] for result in results], np.float64),
        np.array([result["exit"] for result in results], np.int64),
        seconds,
    )


def _times(client: httpx.Client, points: Sequence[_Point], config: AdviseConfig, show: Show) -> list[Floats]:
    """Return for each point the seconds that single images take, [T]."""
    count = min(config.timed_images, len(points[0].images))
    chosen = np.random.default_rng(config.seed).permutation(len(points[0].images))[:count]
    taken = np.zeros((len(points), config.rounds, count))
    for turn in range(config.rounds):
        for number, point in enumerate(points):
            for image in chosen[:_WARM_UP]:
                _ask(client, point.images[image : image + 1], point.query)
            for place, image in enumerate(chosen):
                begun = perf_counter()
                _ask(client, point.images[image : image + 1], point.query)
                taken[number, turn, place] = perf_counter() - begun
            show("timing single images", turn * len(points) + number + 1, config.rounds * len(points))
    return list(taken.min(axis=1))


def _measured(point: _Point, answers: _Answers, seconds: Floats) -> Measured:
    exits = len(point.alternative.bundle.manifest.segments)
    shares = np.bincount(answers.exits - 1, minlength=exits) / len(answers.exits)
    return Measured(
        title=point.alternative.title,
        bundle=point.alternative.bundle.name,
        kind=point.alternative.kind,
        precision=point.alternative.precision,
        budget_flops=point.budget_flops,
        spent_flops=float(answers.flops.mean()),
        mean_ms=1e3 * float(seconds.mean()),
        p95_ms=1e3 * float(np.quantile(seconds, 0.95)),
        images_per_second=len(answers.right) / answers.seconds,
        shares=tuple(shares.tolist()),
        right=answers.right,
    )


def _ask(client: httpx.Client, images: Images, query: dict[str, str]) -> list[dict[str, Any]]:
    body = io.BytesIO()
    np.save(body, images)
    try:
        response = client.post(
            "/classify", params=query, content=body.getvalue(), headers={"content-type": "application/x-npy"}
        )
    except httpx.HTTPError as error:
        raise DemoError(f"no answer from the server to {query}: {error!r}") from error
    if response.status_code != httpx.codes.OK:
        raise DemoError(
            f"expected the answer 200 to {query}, found {response.status_code}: {response.text[:300]}"
        )
    results: list[dict[str, Any]] = response.json()["results"]
    return results


def _decoded(test: Pictures, spec: Preprocessing, scratch: Path, number: int) -> Images:
    """Return all images uint8 [N, H, W, 3], in a file, since they may be more than fits into memory."""
    shape = (len(test), spec.height, spec.width, 3)
    decoded: Images = np.lib.format.open_memmap(scratch / f"images{number}.npy", "w+", np.uint8, shape)
    start = 0
    for batch in feed_of(test, spec).batches(
        grouped(np.arange(len(test), dtype=np.int64), BATCH_SIZE, least=1), None
    ):
        decoded[start : start + len(batch.labels)] = batch.images.numpy()
        start += len(batch.labels)
    return decoded


def _link(bundle: Path, place: Path) -> None:
    """Put a bundle where it is served from, by hard links where the file system has them."""
    try:
        shutil.copytree(bundle, place, copy_function=os.link)
    except (OSError, shutil.Error):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(bundle, place)
