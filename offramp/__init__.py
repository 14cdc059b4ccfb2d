"""Offramp: image classifiers that answer easy images at an early exit, under a FLOPs budget of each request.

A model is loaded from a bundle, the folder that `offramp export` writes, and answers from any thread:

>>> import numpy as np
>>> import offramp
>>> with offramp.Model.load("exported_models/cifar10-ladder-int8") as model:
...     size = model.manifest.preprocessing
...     images = np.zeros((3, size.height, size.width, 3), dtype=np.uint8)  # uint8 [N, H, W, 3]
...     answers = model.classify(images, offramp.ClassifyOptions(budget="50%"))
>>> len(answers), answers[0].flops <= answers[0].budget_flops * len(answers)
(3, True)

The package `serving` lies beside this one, and is taken from there, wherever `sys.path` leads. It is
imported at the first use of a name; `import offramp` alone loads neither ONNX Runtime nor torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.answer import Answer
    from serving.client import AsyncClient, Client, ClientError, ResponseError
    from serving.errors import OfframpError
    from serving.model import Model
    from serving.options import Budget, ClassifyOptions
    from serving.scheduler.cores import Cores

__all__ = [
    "Answer",
    "AsyncClient",
    "Budget",
    "ClassifyOptions",
    "Client",
    "ClientError",
    "Cores",
    "Model",
    "OfframpError",
    "ResponseError",
    "__version__",
]

__version__ = "0.1.0"

_HOMES = {
    "Answer": "serving.answer:Answer",
    "AsyncClient": "serving.client:AsyncClient",
    "Budget": "serving.options:Budget",
    "ClassifyOptions": "serving.options:ClassifyOptions",
    "Client": "serving.client:Client",
    "ClientError": "serving.client:ClientError",
    "Cores": "serving.scheduler.cores:Cores",
    "Model": "serving.model:Model",
    "OfframpError": "serving.errors:OfframpError",
    "ResponseError": "serving.client:ResponseError",
}
"""Where each public name is defined."""


if not TYPE_CHECKING:  # A type checker would take every name for one of the module's.

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from offramp._siblings import bind

        bind("serving")
        module, _, attribute = _HOMES[name].partition(":")
        globals()[name] = getattr(importlib.import_module(module), attribute)
        return globals()[name]


def __dir__() -> list[str]:
    return sorted(__all__)
