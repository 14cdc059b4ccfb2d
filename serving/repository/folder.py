"""What lies in the folder of models: bundles, and versions of bundles.

`name/` is a bundle, or it holds the versions of one: `name/1`, `name/2`, and nothing but whole numbers. A
folder of a number without a manifest is no version yet: somebody is still copying it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serving.bundle.bundle import MANIFEST, looks_like_a_bundle

ONLY_VERSION = "1"
"""The version of a bundle that has no others."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""The name, time of the last change, size and inode of each file."""


@dataclass(frozen=True)
class FoundModel:
    """A model on disk.

    Attributes:
        name: what it is asked for by.
        versioned: whether its folder holds versions; else it is the one version itself.
        versions: the folder of each version, the lowest number first.
    """

    name: str
    versioned: bool
    versions: Mapping[str, Path] = field(default_factory=dict)

    @property
    def latest(self) -> str:
        """The highest version."""
        return next(reversed(list(self.versions)))


def scan(models: Path) -> dict[str, FoundModel]:
    """List the models of a folder by name, or the one model that it is itself.

    Folders that start with a dot are drafts, remains or what links lead to, never models.

    Raises:
        OSError: the folder cannot be listed.
    """
    whole = find_model(models)
    if whole is not None:
        return {whole.name: whole}
    folders = sorted(path for path in models.iterdir() if not path.name.startswith(".") and path.is_dir())
    return {found.name: found for folder in folders if (found := find_model(folder)) is not None}


def fingerprint(folder: Path) -> Fingerprint:
    """Return what changes when a file of a bundle does; empty where there is no such folder."""
    try:
        files = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    except OSError:  # gone, or going
        return ()
    return tuple((name, status.st_mtime_ns, status.st_size, status.st_ino) for name, status in files)


def file_bytes(folder: Path) -> int:
    """The bytes of all files of a bundle."""
    return sum(size for _, _, size, _ in fingerprint(folder))


def find_model(folder: Path) -> FoundModel | None:
    """Return the model that a folder is: a bundle, or versions of one; None where it is neither.

    Raises:
        OSError: the folder cannot be listed.
    """
    if looks_like_a_bundle(folder):
        return FoundModel(folder.name, False, {ONLY_VERSION: folder})
    versions = _versions(folder)
    return FoundModel(folder.name, True, versions) if versions else None


def _versions(folder: Path) -> dict[str, Path]:
    inside = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if not all(_NUMBER.fullmatch(path.name) for path in inside):
        return {}
    whole = [path for path in inside if (path / MANIFEST).is_file()]
    return {path.name: path for path in sorted(whole, key=lambda path: int(path.name))}
