"""A bundle to a repository of the Hub, in one commit."""

from serving.bundle import Bundle
from serving.errors import HubError
from serving.hub.bundles import CARD, bundle_files, files_of
from serving.hub.card import plain_card, with_front_matter
from serving.hub.library import UnreachableError, explained, library
from serving.hub.names import HubName


def push(bundle: Bundle, named: HubName, *, message: str, private: bool | None = None) -> str:
    """Put a bundle at the top of a repository, which is made where it does not exist.

    Only the bundle's own files go there, and its card, evaluation and gallery. A card without metadata gets
    them; a bundle without a card gets one. Files of the bundle that was there before are removed.

    Args:
        bundle: was read, and so passed every check.
        named: the repository; a revision is a branch, which is made where it does not exist.
        message: of the commit.
        private: whether a new repository is seen by its owner alone; the owner's default if None.

    Returns:
        the address of the commit.

    Raises:
        HubError: the Hub cannot be reached, or refuses.
        BundleError: a file of the bundle changed since it was read.
    """
    files = _files(bundle, named.name)
    hub = library()
    api = hub.HfApi()
    try:
        with explained(named):
            api.create_repo(named.repo, private=private, exist_ok=True)
            if named.revision is not None:
                api.create_branch(named.repo, branch=named.revision, exist_ok=True)
            there = api.list_repo_files(named.repo, revision=named.revision)
            stale = {file for file in bundle_files(there) if "/" not in file} - files.keys()
            commit = api.create_commit(
                named.repo,
                [
                    *(hub.CommitOperationAdd(file, data) for file, data in files.items()),
                    *(hub.CommitOperationDelete(file) for file in sorted(stale)),
                ],
                commit_message=message,
                revision=named.revision,
            )
    except UnreachableError as error:
        raise HubError(f"{named}: nothing was pushed: {error}") from error
    return str(commit.commit_url)


def _files(bundle: Bundle, name: str) -> dict[str, bytes]:
    files, manifest = files_of(bundle), bundle.manifest
    card = files[CARD].decode(errors="replace") if CARD in files else plain_card(manifest, name)
    files[CARD] = with_front_matter(card, manifest, name).encode()
    return files
