"""Bundles in repositories of the Hub: one at the top, or several in folders."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from serving.bundle import Bundle, bundle_folders, read_bundle
from serving.bundle.bundle import MANIFEST
from serving.errors import HubError
from serving.hub.download import MAX_BYTES, snapshot
from serving.hub.names import HubName, is_hub_name
from serving.system.atomic import new_folder

CARD = "README.md"
BESIDE = (CARD, "evaluation.json", "gallery.png")
"""Files that may lie beside those of a bundle."""

_NEEDED = (".onnx", ".npz")


def bundle_files(files: Sequence[str], *, beside: bool = False) -> list[str]:
    """Choose the files of bundles: those in a folder that has a manifest.

    Args:
        files: of a repository.
        beside: whether card, evaluation and gallery are wanted, too.

    >>> bundle_files(["a/manifest.json", "a/segment_1.onnx", "b/other.onnx", "a/notes.txt"])
    ['a/manifest.json', 'a/segment_1.onnx']
    """
    folders = {PurePosixPath(file).parent for file in files if PurePosixPath(file).name == MANIFEST}
    return [
        file
        for file in files
        if (path := PurePosixPath(file)).parent in folders
        and (path.name == MANIFEST or path.suffix in _NEEDED or (beside and path.name in BESIDE))
    ]


def bundle_snapshot(named: HubName, max_bytes: int = MAX_BYTES, *, beside: bool = False) -> Path:
    """Return the folder of a repository of bundles in the local cache; see `snapshot`.

    Args:
        named: the repository.
        max_bytes: the most that its bundles may have together.
        beside: whether card, evaluation and gallery are wanted, too.

    Raises:
        HubError: as `snapshot`, or there is no bundle in it.
    """

    def choose(files: Sequence[str]) -> list[str]:
        chosen = bundle_files(files, beside=beside)
        if not chosen:
            held = ", ".join(files[:8]) + (", …" if len(files) > 8 else "")
            raise HubError(f"{named}: no bundle in it: expected a {MANIFEST}, found {held or 'no files'}")
        return chosen

    return snapshot(named, choose, max_bytes)


def open_bundle(
    place: Path | str, links_below: Path | None = None, name: str | None = None, max_bytes: int = MAX_BYTES
) -> Bundle:
    """Read the bundle of a folder, or that of a repository of the Hub, which is called by that one's name.

    Args:
        place: the folder, or `hf://OWNER/NAME[@REVISION]`.
        links_below: as for `read_bundle`, of a folder.
        name: what it is asked for by; its folder's name, or that of the repository, if None.
        max_bytes: the most that a repository's bundle may have.

    Raises:
        BundleError: as `read_bundle`.
        HubError: as `bundle_snapshot`, or there are several bundles in it.
    """
    if not is_hub_name(str(place)):
        return read_bundle(place, links_below, name)
    named = HubName.read(str(place))
    found = bundle_folders(bundle_snapshot(named, max_bytes))
    if len(found) != 1:
        names = ", ".join(folder.name for folder in found) or "none"
        raise HubError(f"{named}: expected one bundle in it, found {names}")
    return read_bundle(found[0], name=name or named.name)


def files_of(bundle: Bundle) -> dict[str, bytes]:
    """Return a bundle's files by name, and what lies beside them of card, evaluation and gallery.

    Raises:
        BundleError: a file of the bundle changed since it was read.
    """
    beside = {name: bundle.folder / name for name in BESIDE}
    return bundle.files() | {name: path.read_bytes() for name, path in beside.items() if path.is_file()}


def copy_bundle(folder: Path, target: Path, *, force: bool) -> None:
    """Copy a bundle out of the cache into a folder of its own: files in place of links, and checked again.

    Args:
        folder: of the bundle in the cache.
        target: the new folder.
        force: replace what is there.

    Raises:
        BundleError: it cannot be used, or `target` cannot be written.
    """
    files = files_of(read_bundle(folder))
    with new_folder(target.absolute(), files, replace=force) as written:
        read_bundle(written)
