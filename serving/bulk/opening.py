"""Opens a source by its name: a file, a folder, or a data set on the Hub."""

import os
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from serving.bulk.archives import TAR_SUFFIXES, ImageArchives
from serving.bulk.folders import ImageFolder
from serving.bulk.items import IMAGE_SUFFIXES, Source, SourceError
from serving.bulk.tables import ImageTables
from serving.errors import HubError
from serving.hub.download import MAX_BYTES, Choose, snapshot
from serving.hub.names import HubName

MAX_IMAGE_BYTES = 64 * 2**20

Fetch = Callable[[HubName, Choose, int], Path]
"""A data set on the Hub, a choice of its files and the most bytes of them -> its folder."""


def open_source(
    named: str,
    *,
    files: str | None = None,
    column: str | None = None,
    keep: Sequence[str] = (),
    max_bytes: int = MAX_IMAGE_BYTES,
    max_download: int = MAX_BYTES,
    fetch: Fetch = snapshot,
) -> Source:
    """Open a source of images.

    Args:
        named: a folder of images, parquet files or tar archives, one such file, or OWNER/NAME[@REVISION] of
            a data set on the Hub: what of it is not in the local cache is downloaded.
        files: which files of a folder, a pattern such as `test-*`, held against names and relative paths.
        column: of the images in parquet files.
        keep: columns of parquet files that are carried to the output.
        max_bytes: the most bytes of one image.
        max_download: the most bytes of a data set's files.
        fetch: gets data sets from the Hub.

    Raises:
        SourceError: there is no such source, or none of its files is one.
        HubError: the Hub has no such data set, or cannot be reached.
    """
    path = Path(named)
    if not path.exists():
        path = _from_the_hub(named, files, lambda name, choose: fetch(name, choose, max_download))
    if path.is_file():
        kind = _kind(path.name)
        if kind == "parquet":
            return ImageTables([(path.name, path)], column, max_bytes, keep)
        if kind == "tar":
            _refuse_columns(named, keep)
            return ImageArchives([(path.name, path)], max_bytes)
        raise SourceError(f"{named}: expected a parquet file or a tar archive, found {path.name!r}")
    if not path.is_dir():
        raise SourceError(f"{named}: expected a file or a folder")
    found = _walk(path, files)
    if not found:
        which = f" that match {files!r}" if files else ""
        raise SourceError(f"{named}: the folder holds no files{which}")
    return _of_files(named, path, found, column, keep, max_bytes)


def _of_files(
    named: str,
    folder: Path,
    found: Sequence[Path],
    column: str | None,
    keep: Sequence[str],
    max_bytes: int,
) -> Source:
    kind = _one_kind(named, [file.name for file in found])
    chosen = [file for file in found if _kind(file.name) == kind]
    with_names = [(file.relative_to(folder).as_posix(), file) for file in chosen]
    if kind == "parquet":
        return ImageTables(with_names, column, max_bytes, keep)
    _refuse_columns(named, keep)
    if kind == "tar":
        return ImageArchives(with_names, max_bytes)
    return ImageFolder(folder, chosen, len(found) - len(chosen), max_bytes)


def _refuse_columns(named: str, keep: Sequence[str]) -> None:
    if keep:
        raise SourceError(f"{named}: --keep: only parquet files have columns")


def _one_kind(named: str, names: Sequence[str]) -> str:
    """Return the kind of source that files are.

    Raises:
        SourceError: they are none, or several.
    """
    kinds = {_kind(name) for name in names}
    present = [kind for kind in ("parquet", "tar", "image") if kind in kinds]
    if len(present) != 1:
        found = " and ".join(present) if present else f"none of them in its {len(names)} files"
        raise SourceError(
            f"{named}: expected images, parquet files or tar archives, only one kind of them; found {found}"
            + ("; choose by --files PATTERN" if present else "")
        )
    return present[0]


def _from_the_hub(named: str, files: str | None, fetch: Callable[[HubName, Choose], Path]) -> Path:
    """Return the folder of a data set; only the files that are read are downloaded."""
    try:
        name = HubName.read(named, "dataset")
    except HubError as error:
        raise SourceError(f"{named}: no such file or folder") from error

    def choose(names: Sequence[str]) -> list[str]:
        matching = [name for name in names if not _hidden(name) and _matches(name, files)]
        kind = _one_kind(named, matching)
        return [name for name in matching if _kind(name) == kind]

    try:
        return fetch(name, choose)
    except HubError as error:
        raise SourceError(f"no such file or folder; on the Hub: {error}") from error


def _walk(folder: Path, files: str | None) -> list[Path]:
    """List the files below a folder, sorted by path; what starts with a dot is left out."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = Path(place, name)
            relative = file.relative_to(folder).as_posix()
            if not name.startswith(".") and file.is_file() and _matches(relative, files):
                found.append((relative, file))
    return [file for _, file in sorted(found)]


def _matches(relative: str, files: str | None) -> bool:
    name = relative.rpartition("/")[2]
    return files is None or fnmatch(name, files) or fnmatch(relative, files)


def _hidden(relative: str) -> bool:
    return any(part.startswith(".") for part in relative.split("/"))


def _kind(name: str) -> str:
    name = name.lower()
    if name.endswith(".parquet"):
        return "parquet"
    if name.endswith(TAR_SUFFIXES):
        return "tar"
    return "image" if PurePosixPath(name).suffix in IMAGE_SUFFIXES else "other"
