"""Names of commands and flags in messages to a user."""

import sys

from serving.errors import OfframpError

_MODULES = {
    "serve": "serving",
    "check": "serving.check",
    "classify": "serving.classify",
    "push": "serving.hub.push",
    "pull": "serving.hub.pull",
    "ray": "serving.distributed.serve",
}
"""The module behind a command; a command that is not here is the module of that name in `training`."""


class SettingsValueError(OfframpError):
    """A flag, a variable or a file that cannot be used; the text has one line for each problem."""

    title = "unusable settings"


def program(name: str) -> str:
    """Return a command in the form this process was started in: `offramp fit`, `python -m training.fit`."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    started = spec.name.partition(".")[0] if spec else ""
    if started in ("serving", "training"):
        return f"python -m {_MODULES.get(name, f'training.{name}')}"
    return f"offramp {name}"


def flag(name: str) -> str:
    """Return the flag of a field: `batch_size` becomes `--batch-size`."""
    return "--" + name.replace("_", "-")
