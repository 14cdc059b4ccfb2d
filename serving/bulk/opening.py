"""Opens a source by its name: a file, a folder, or a data set in the cache of the Hub."""

import os
import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from serving.bulk.archives import TAR_SUFFIXES, ImageArchives
from serving.bulk.folders import ImageFolder
from serving.bulk.items import IMAGE_SUFFIXES, Source, SourceError
from serving.bulk.tables import ImageTables

MAX_IMAGE_BYTES = 64 * 2**20
_HUB_NAME = re.compile(r"(?:hf://datasets/)?(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")

FindInCache = Callable[[str, str | None], Path | None]
"""The Hub's name of a data set and a revision -> its folder in the local cache; None if it is not there."""


def cached_data_set(name: str, revision: str | None) -> Path | None:
    """Return the folder of a data set in the local cache of the Hub; nothing is downloaded."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, repo_type="dataset", revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def open_source(
    named: str,
    *,
    files: str | None = None,
    column: str | None = None,
    max_bytes: int = MAX_IMAGE_BYTES,
    find_in_cache: FindInCache = cached_data_set,
) -> Source:
    """Open a source of images.

    Args:
        named: a folder of images, parquet files or tar archives, one such file, or OWNER/NAME[@REVISION] of
            a data set in the local cache of the Hub.
        files: which files of a folder, a pattern such as `test-*`, held against names and relative paths.
        column: of the images in parquet files.
        max_bytes: the most bytes of one image.
        find_in_cache: finds data sets of the Hub.

    Raises:
        SourceError: there is no such source, or none of its files is one.
    """
    path = Path(named)
    if not path.exists():
        path = _from_the_hub(named, find_in_cache)
    if path.is_file():
        kind = _kind(path)
        if kind == "parquet":
            return ImageTables([(path.name, path)], column, max_bytes)
        if kind == "tar":
            return ImageArchives([(path.name, path)], max_bytes)
        raise SourceError(f"{named}: expected a parquet file or a tar archive, found {path.name!r}")
    if not path.is_dir():
        raise SourceError(f"{named}: expected a file or a folder")
    found = _walk(path, files)
    if not found:
        which = f" that match {files!r}" if files else ""
        raise SourceError(f"{named}: the folder holds no files{which}")
    return _of_files(named, path, found, column, max_bytes)


def _of_files(named: str, folder: Path, found: Sequence[Path], column: str | None, max_bytes: int) -> Source:
    kinds = {kind: [file for file in found if _kind(file) == kind] for kind in ("parquet", "tar", "image")}
    present = [kind for kind, members in kinds.items() if members]
    if len(present) != 1:
        what = " and ".join(present) if present else f"none of them in its {len(found)} files"
        raise SourceError(
            f"{named}: expected images, parquet files or tar archives, only one kind of them; found {what}"
            + ("; choose by --files PATTERN" if present else "")
        )
    chosen = kinds[present[0]]
    with_names = [(file.relative_to(folder).as_posix(), file) for file in chosen]
    if present == ["parquet"]:
        return ImageTables(with_names, column, max_bytes)
    if present == ["tar"]:
        return ImageArchives(with_names, max_bytes)
    return ImageFolder(folder, chosen, len(found) - len(chosen), max_bytes)


def _from_the_hub(named: str, find_in_cache: FindInCache) -> Path:
    matched = _HUB_NAME.fullmatch(named)
    if matched is None:
        raise SourceError(f"{named}: no such file or folder")
    path = find_in_cache(matched["name"], matched["revision"])
    if path is None:
        raise SourceError(
            f"{named}: no such file or folder, and no such data set in the cache of the Hub; download it: "
            f"hf download --repo-type dataset {matched['name']}"
        )
    return path


def _walk(folder: Path, files: str | None) -> list[Path]:
    """List the files below a folder, sorted by path; what starts with a dot is left out."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = Path(place, name)
            if name.startswith(".") or not file.is_file():
                continue
            relative = file.relative_to(folder).as_posix()
            if files is None or fnmatch(name, files) or fnmatch(relative, files):
                found.append((relative, file))
    return [file for _, file in sorted(found)]


def _kind(path: Path) -> str:
    name = path.name.lower()
    if name.endswith(".parquet"):
        return "parquet"
    if name.endswith(TAR_SUFFIXES):
        return "tar"
    return "image" if path.suffix.lower() in IMAGE_SUFFIXES else "other"
