"""The checks of a bundle from any writer: is it fit to be served?

Everything that loading refuses is checked, by the same functions: what it says of itself, and what its first
runs show.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.bundle import Bundle
from serving.engine.engine import Engine
from serving.engine.fast_paths import shorten
from serving.errors import BundleError, OfframpError
from serving.hub.bundles import open_bundle
from serving.judgements import JUDGEMENTS


@dataclass(frozen=True)
class Verdict:
    """One check: its name, whether the bundle passed, and what was found (and what to do where it failed)."""

    check: str
    ok: bool
    detail: str


def check_bundle(folder: Path | str) -> Iterator[Verdict]:
    """Run every check on a bundle, in order; those that a failed one makes pointless are left out."""
    try:
        bundle = open_bundle(folder)
    except OfframpError as error:
        yield Verdict("files", False, str(error))
        return
    count = len(bundle.manifest.segments)
    yield Verdict("files", True, f"{count} segments, checksums match, no file leads outside")
    for name, check in CHECKS.items():
        try:
            yield Verdict(name, True, check(bundle))
        except OfframpError as failure:
            yield Verdict(name, False, str(failure))


def _engine(bundle: Bundle) -> str:
    try:
        engine = Engine(bundle, threads=1, providers=["CPUExecutionProvider"])
        shorten(bundle, engine)
    except OfframpError:
        raise
    except Exception as error:  # A stranger's graph can fail in the runtime in any way: all are its verdict.
        raise BundleError(f"the engine cannot run it ({error}); export it again") from error
    return engine.trial


CHECKS = {**JUDGEMENTS, "engine": _engine}
"""Every check of a bundle that could be read: it returns what it found, or raises."""
