"""The server a user would write: a FastAPI handler, Pillow, one session at full depth, no batching.

Runs in an environment of its own: python fastapi_server.py MODEL.onnx PORT THREADS
"""

import sys

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from pixels import pixels

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[3])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
app = FastAPI()


def answer(body: bytes) -> dict[str, float | int]:
    """Decode one image and run the whole net on it."""
    probabilities = session.run(None, {name: pixels(body)[np.newaxis]})[0][0]
    index = int(probabilities.argmax())
    return {"class_index": index, "confidence": float(probabilities[index])}


@app.post("/classify")
async def classify(request: Request) -> dict[str, float | int]:
    """Answer one image."""
    return await run_in_threadpool(answer, await request.body())


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", access_log=False)
