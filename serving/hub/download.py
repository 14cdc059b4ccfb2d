"""Snapshots of repositories in the Hub's local cache, brought up to date where there is a network."""

import glob
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from serving.errors import HubError
from serving.hub.library import UnreachableError, explained, library
from serving.hub.names import HubName

MAX_BYTES = 10 * 10**9
"""The most bytes of one repository's files, where nobody says otherwise."""

Choose = Callable[[Sequence[str]], Sequence[str]]
"""The files of a repository -> those that are wanted; raises a HubError where there are none."""


def snapshot(named: HubName, choose: Choose, max_bytes: int = MAX_BYTES) -> Path:
    """Return the folder of a repository in the local cache, with the files that are wanted.

    The Hub is asked first, and files that are missing are downloaded. Where it cannot be reached, the cache
    answers alone.

    Args:
        named: the repository.
        choose: chooses among its files.
        max_bytes: the most that those may have together.

    Raises:
        HubError: no such repository; none of its files are wanted, or they are too large; or the Hub cannot
            be reached and they are not in the cache.
    """
    try:
        sizes = _sizes(named)
    except UnreachableError as error:
        return _cached(named, choose, str(error))
    wanted = choose(sorted(sizes))
    total = sum(sizes[file] for file in wanted)
    if total > max_bytes:
        raise HubError(
            f"{named}: its files have {total:,} bytes, more than the {max_bytes:,} of --max-download: "
            "raise that limit"
        )
    try:
        with explained(named):
            found = library().snapshot_download(
                named.repo,
                repo_type=named.kind,
                revision=named.revision,
                allow_patterns=[glob.escape(file) for file in wanted],
            )
    except UnreachableError as error:
        raise HubError(
            f"{named}: the download broke off: {error}; try again, it goes on from there"
        ) from error
    except FileNotFoundError as error:  # the library's word for a network that is gone meanwhile
        raise HubError(f"{named}: the download broke off; try again, it goes on from there") from error
    return Path(found)


def _sizes(named: HubName) -> Mapping[str, int]:
    """Return the bytes of each file of a repository."""
    hub = library()
    with explained(named):
        tree = hub.HfApi().list_repo_tree(
            named.repo, repo_type=named.kind, revision=named.revision, recursive=True
        )
        return {entry.path: entry.size for entry in tree if isinstance(entry, hub.hf_api.RepoFile)}


def _cached(named: HubName, choose: Choose, reason: str) -> Path:
    hub = library()
    try:
        # No pattern matches nothing: whether a file is missing is for whoever reads them.
        found = hub.snapshot_download(
            named.repo,
            repo_type=named.kind,
            revision=named.revision,
            local_files_only=True,
            allow_patterns=[],
        )
    except (hub.errors.LocalEntryNotFoundError, hub.errors.HFValidationError) as error:
        raise HubError(
            f"{named}: not in the local cache of the Hub, and {reason}; download it where there is a network"
        ) from error
    folder = Path(found)
    choose(sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()))
    return folder
