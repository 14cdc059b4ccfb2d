"""Imports the packages beside `offramp` by where they are, so that a folder of the same name hides none."""

import importlib.util
import sys
from pathlib import Path
from threading import RLock

_HOME = Path(__file__).resolve().parents[1]
_lock = RLock()


def bind(name: str) -> None:
    """Make `import NAME` mean the package in the folder that holds `offramp`, in this process.

    Args:
        name: of a top-level package, such as "serving".

    Raises:
        ImportError: another package of that name was imported before, or there is none beside `offramp`.
    """
    init = _HOME / name / "__init__.py"
    with _lock:
        loaded = sys.modules.get(name)
        if loaded is not None:
            found = getattr(loaded, "__file__", None)
            if found is None or Path(found).resolve() != init:
                raise ImportError(
                    f"offramp needs its package {name!r} in {init.parent}, but this process has already "
                    f"imported another of that name from {_place(loaded)}: use a name of offramp first, "
                    "rename the other, or run offramp in a process of its own"
                )
            return
        spec = importlib.util.spec_from_file_location(
            name, init, submodule_search_locations=[str(init.parent)]
        )
        if not init.is_file() or spec is None or spec.loader is None:
            raise ImportError(
                f"offramp needs its package {name!r} in {init.parent}, and it is not there: install "
                "offramp again"
            )
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise


def _place(module: object) -> str:
    """Return where a module lies; a folder without `__init__.py` has a path and no file."""
    file = getattr(module, "__file__", None)
    if file is not None:
        return str(Path(file).parent)
    return ", ".join(getattr(module, "__path__", ())) or "an unknown place"
