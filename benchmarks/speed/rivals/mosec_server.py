"""mosec, which batches: one session at full depth in each of its workers.

Runs in an environment of its own, with MODEL, WORKERS and THREADS set: python mosec_server.py --port PORT
"""

import os
from typing import Any

import numpy as np
import onnxruntime
from mosec import Server, Worker
from pixels import pixels

BATCH = 32
WAIT_MS = 5


class Classify(Worker):  # type: ignore[misc] # of another environment
    """Decodes images and runs the whole net on a batch of them."""

    def __init__(self) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["THREADS"])
        self.session = onnxruntime.InferenceSession(
            os.environ["MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self.name = self.session.get_inputs()[0].name

    def deserialize(self, data: bytes) -> Any:
        """Decode one image."""
        return pixels(data)

    def forward(self, data: list[Any]) -> list[Any]:
        """Answer a batch."""
        probabilities = self.session.run(None, {self.name: np.stack(data)})[0]
        return [{"class_index": int(row.argmax()), "confidence": float(row.max())} for row in probabilities]


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        Classify, num=int(os.environ["WORKERS"]), max_batch_size=BATCH, max_wait_time=WAIT_MS
    )
    server.run()
