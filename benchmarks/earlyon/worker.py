"""earlyon's side, in its own environment: `python -m benchmarks.earlyon.worker REQUEST.json ANSWER.json`.

Heads learn as its `stage2_train_exits` does, for whole epochs, until the seconds given are over. Temperatures
and thresholds are fitted on one fold (`calibrate_thresholds`, `calibrate_thresholds_for_budget`) and judged
on the other by its own `simulate_policy`.
"""

import contextlib
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from earlyon import __version__
from earlyon.core.thresholds import (
    calibrate_thresholds,
    calibrate_thresholds_for_budget,
    collect_head_logits,
    simulate_policy,
)
from earlyon.models import custom_ee
from earlyon.training import stage2_train_exits
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.earlyon.network import DEVIATION, EXITS, MEAN, trained


class OverError(Exception):
    """The time is over."""


def loader(file: str, *, shuffle: bool = False) -> Any:
    """Load images uint8 [N, 32, 32, 3] and labels [N], normalised."""
    stored = np.load(file)
    images = torch.from_numpy(stored["images"]).permute(0, 3, 1, 2).float().div_(255)
    for channel in range(3):
        images[:, channel].sub_(MEAN[channel]).div_(DEVIATION[channel])
    return DataLoader(TensorDataset(images, torch.from_numpy(stored["labels"])), 128, shuffle=shuffle)


def main() -> None:
    """Train, calibrate and judge."""
    request = json.loads(Path(sys.argv[1]).read_text())
    torch.manual_seed(0)
    torch.set_num_threads(request["threads"])
    net = trained(Path(request["weights"]))
    model = custom_ee(net, list(EXITS), num_classes=10, input_shape=(1, 3, 32, 32))
    train, fitted, judged = (
        loader(request[name], shuffle=name == "train") for name in ("train", "fitted", "judged")
    )
    epochs: list[float] = []
    begun = time.monotonic()

    def hear(_: Any) -> None:
        epochs.append(time.monotonic() - begun)
        if epochs[-1] >= request["seconds"]:
            raise OverError

    with contextlib.suppress(OverError):
        stage2_train_exits(model, train, epochs=request["most_epochs"], on_epoch_end=hear)
    model.eval()
    heads = collect_head_logits(model, judged, "cpu")
    accuracy = [float((logits.argmax(1) == heads.targets).float().mean()) for logits in heads.logits]
    asked = [("drop", value) for value in request["drops"]] + [
        ("budget", value) for value in request["budgets"]
    ]
    points = []
    for kind, value in asked:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a budget that cannot be met: `met` says so
            calibrate: Any = calibrate_thresholds if kind == "drop" else calibrate_thresholds_for_budget
            found = calibrate(model, fitted, value, fit_temperature=True)
        policy = simulate_policy(heads, model)
        points.append(
            {
                "asked": kind,
                "value": value,
                "met": bool(found.budget_met),
                "accuracy": policy.accuracy,
                "share": policy.avg_flops_fraction,
            }
        )
    answer = {
        "version": __version__,
        "torch": torch.__version__,
        "seconds": epochs[-1],
        "epochs": len(epochs),
        "exit_accuracy": accuracy,
        "points": points,
    }
    Path(sys.argv[2]).write_text(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
