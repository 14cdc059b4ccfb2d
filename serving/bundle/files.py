"""Files that are what they seem: regular, of a bounded size, and no link to somewhere else.

Stores of models are made of links: the Hub's cache keeps blobs beside its snapshots, and a Kubernetes volume
points through `..data` at its latest version. A link may lead anywhere below the folder that holds all
models, or for the Hub's cache below the folder of the repository; one that leads out of it is refused, so
that a bundle of unknown origin cannot have the server read other files.
"""

import os
import stat
from pathlib import Path

from serving.errors import BundleError

_HUB_REPOSITORY = "models--"


def links_root(models: Path | str) -> Path:
    """Return the folder below which links of bundles may end.

    Args:
        models: what the server was given: the folder of bundles, or one bundle.

    Returns:
        The folder of the repository, `models--OWNER--NAME`, within a cache of the Hugging Face Hub, else the
        folder that `models` lies in.
    """
    models = Path(models).absolute()
    for folder in (models, *models.parents):
        if folder.name.startswith(_HUB_REPOSITORY):
            return folder
    return models.parent


def read_plain_file(path: Path, max_bytes: int, links_below: Path | None = None) -> bytes:
    """Read a regular file of at most `max_bytes`.

    Args:
        path: the file, or a link to it.
        max_bytes: the most that it may hold.
        links_below: the folder that links may not lead out of; that of the file if None.

    Raises:
        BundleError: missing, a link that leads elsewhere, not a regular file, or too large; names no bundle.
    """
    # Everything else is asked of the open file, so it cannot be swapped between the check and the read.
    flags = (
        os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    try:
        descriptor = os.open(_target(path, links_below or path.parent), flags)
    except FileNotFoundError as error:
        raise BundleError("is missing; write the bundle again or copy it whole") from error
    except OSError as error:
        raise BundleError(f"cannot be opened ({error.strerror})") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise BundleError("is not a regular file")
        if status.st_size > max_bytes:
            raise BundleError(f"has {status.st_size} bytes, more than the {max_bytes} expected at most")
        return file.read(max_bytes)


def _target(path: Path, root: Path) -> Path:
    """Follow links to the end.

    Raises:
        BundleError: it is not below `root`, by that folder's name or by its real place.
        OSError: there is no end.
    """
    if not path.is_symlink():
        return path  # The folder may be a link itself; that was its owner's choice.
    target = Path(
        os.path.realpath(path, strict=True)
    )  # Python 3.11 raises no OSError for a circle in resolve
    roots = (root, root.resolve(), links_root(path.parent.resolve()))  # the last where the folder is a link
    if not any(target.is_relative_to(folder) for folder in roots):
        raise BundleError(
            f"is a link that leads out of {str(root)!r}; put the file there, or name a folder with --models "
            "whose parent holds it"
        )
    return target
