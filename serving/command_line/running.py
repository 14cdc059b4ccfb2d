"""The running of a command: its exit status, and a user's mistake as one line on standard error."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from pydantic import ValidationError

from serving.command_line.naming import SettingsValueError
from serving.command_line.values import Given
from serving.errors import OfframpError

EXTRAS = {"huggingface_hub": "hub"} | dict.fromkeys(
    (
        *("datasets", "httpx", "markdown_it", "matplotlib", "onnxscript", "pyarrow", "rich", "safetensors"),
        *("scipy", "sklearn", "tensorboard", "torch", "torchjd", "torchvision"),
    ),
    "training",
)
"""The extra of `offramp` that brings each package which the server does without."""


def run(command: Callable[[], int | None]) -> int:
    """Run `command` and return the exit status: its own, or 2 with a text on stderr for a user's mistake."""
    try:
        return command() or 0
    except SettingsValueError as error:
        _complain(*str(error).splitlines())
        return 2
    except OfframpError as error:
        _complain(str(error))
        return 2
    except OSError as error:  # A folder that may not be read, a disk that is full.
        _complain(str(error))
        return 2
    except ValidationError as error:
        _complain(*map(Given({}).problem, error.errors()))
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        _complain(f"{package} is not installed: pip install 'offramp[{EXTRAS[package]}]'")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


def leave(status: int) -> NoReturn:
    """End the process with `status`; one of several that torchrun started ends at once.

    Threads of torch's exchange between processes may outlive the work. The interpreter's finalisation can
    abort such a process, and torchrun then reports a failure of a run that is whole.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        sys.exit(status)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _complain(*problems: str) -> None:
    for problem in problems:
        sys.stderr.write(f"error: {problem}\n")
