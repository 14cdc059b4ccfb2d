"""`torch.compile` for training: one compilation per image size and set of exits.

Source: Ansel et al., "PyTorch 2", ASPLOS 2024. Shapes are static, for the fastest code. A method that trains
exits one by one, on images of several sizes, needs more compilations than torch allows by default: beyond
these it would go on uncompiled.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from training.errors import ConfigError
from training.models.multi_exit import MultiExitModel

COMPILATIONS = 128


def compiled(model: MultiExitModel) -> Callable[..., list[Tensor]]:
    """Return the model's forward as `torch.compile` makes it; it shares the model's weights.

    Args:
        model: evaluated and exported as it is; only what is returned here runs compiled code.
    """
    # Only here: torch's compiler takes seconds to import.
    import torch._dynamo

    fast = torch.compile(model, dynamic=False)

    def forward(*args: Any) -> list[Tensor]:
        with torch._dynamo.config.patch(recompile_limit=COMPILATIONS):
            logits: list[Tensor] = fast(*args)
            return logits

    return forward


def check_compiler(device: str) -> None:
    """Refuse to compile for the CPU where there is no C++ compiler.

    Raises:
        ConfigError: there is none.
    """
    if device.startswith("cuda"):
        return
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise ConfigError(
            "--compile needs a C++ compiler, and found none: install g++, name one in CXX, or leave it out"
        ) from error
