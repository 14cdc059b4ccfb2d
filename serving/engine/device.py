"""Where features wait, and how to get memory and sessions there; the CPU is a device like any other."""

from collections.abc import Sequence
from typing import Any, Literal

from serving.bundle.manifest import ROWS, SegmentSpec
from serving.engine.providers import DEVICES, DeviceFeatures
from serving.engine.sessions import device_tensor, open_strictly
from serving.errors import EngineError

FeaturesOn = Literal["host", "device"]


class Device:
    """The memory that an execution provider works in.

    Args:
        providers: by ONNX Runtime's names, best first; the first decides.
    """

    def __init__(self, providers: Sequence[str]) -> None:
        self.kind = DEVICES.get(providers[0], "cpu")
        self._providers = providers

    def allocate(self, shape: Sequence[int], dtype: str) -> Any:
        """Make a tensor there, an OrtValue; its content is left open."""
        return device_tensor(shape, dtype, self.kind)

    def open_session(self, model: bytes) -> Any:
        """Open a small model of our own there."""
        return open_strictly(model, self._providers)


def features_on(
    model: str, segments: Sequence[SegmentSpec], providers: Sequence[str], asked: DeviceFeatures
) -> FeaturesOn:
    """Decide where features wait.

    Args:
        model: its name, for the message.
        segments: of the bundle; for features to stay on the device all but the first must gather their rows.
        providers: what runs them, best first.
        asked: `auto` keeps them on the device where that has memory of its own and the segments can do it.

    Raises:
        EngineError: asked for by name, and a segment cannot do it.
    """
    without = [
        number for number, spec in enumerate(segments, start=1) if number > 1 and not spec.gathers_rows
    ]
    if asked == "on" and without:
        raise EngineError(
            f"model {model!r}: its features cannot stay on the device, since segment {without[0]} takes no "
            f"input {ROWS!r} to gather them by; export it with --gather-rows, or set --device-features auto"
        )
    wished = asked == "on" or (asked == "auto" and providers[0] in DEVICES)
    return "device" if wished and not without else "host"
