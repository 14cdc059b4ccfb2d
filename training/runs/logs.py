"""A run's logs: metrics.jsonl and TensorBoard, both made from the checkpoint's history.

The history is part of the checkpoint, so a run killed between a checkpoint and its log line, or resumed from
an earlier epoch, still ends with every epoch in its logs once.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from serving.system.atomic import write_atomically

FUSION_DEVIATION = "fusion_deviation"
"""The field that meta-gf adds to a record: the distance of the fusion weights from equal shares."""


class RunLogs:
    """Writes the epochs of one process's part of a run.

    Args:
        folder: the run folder.
        history: the epochs that the checkpoint holds already.
    """

    def __init__(self, folder: Path, history: Sequence[dict[str, Any]]) -> None:
        self._metrics = folder / "metrics.jsonl"
        # Event files are append-only: what a killed process left is replaced by a replay.
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        self._board = SummaryWriter(folder / "tensorboard")
        for record in history:
            self._to_board(record)
        self._write(history)

    def epoch(self, history: Sequence[dict[str, Any]]) -> None:
        """Log the newest epoch of `history`."""
        self._to_board(history[-1])
        self._write(history)

    def close(self) -> None:
        """Flush what is buffered."""
        self._board.close()

    def _write(self, history: Sequence[dict[str, Any]]) -> None:
        write_atomically(self._metrics, "".join(json.dumps(record) + "\n" for record in history))

    def _to_board(self, record: dict[str, Any]) -> None:
        step = record["epoch"]
        for group in ("validation_accuracy", "train_loss"):
            for number, value in enumerate(record[group], start=1):
                if value is not None:
                    self._board.add_scalar(f"{group}/exit {number}", value, step)
        for name in ("lr", "images_per_second", FUSION_DEVIATION):
            if name in record:
                self._board.add_scalar(name, record[name], step)
