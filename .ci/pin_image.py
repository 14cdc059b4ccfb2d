"""Write the digest of a Dockerfile's `ARG BASE` into it, as the registry of that image gives it.

    make pin-image

The digest is that of the index over all platforms. Where no registry answers, one line says so, the
file stays as it is, and the code is 1. The API is that of the OCI distribution specification, 1.1.
"""

import re
import sys
from pathlib import Path

import httpx

_BASE = re.compile(r"^ARG BASE=(?P<image>[^\s@]+)(?:@\S+)?$", re.MULTILINE)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


class PinError(Exception):
    """No digest was found; the message is one line."""


def place(image: str) -> tuple[str, str, str]:
    """Return the registry's address, the repository and the tag that an image's name stands for.

    >>> place("python:3.11-slim")
    ('https://registry-1.docker.io', 'library/python', '3.11-slim')
    >>> place("localhost:5000/team/base")
    ('http://localhost:5000', 'team/base', 'latest')
    """
    first, slash, rest = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        local = first.partition(":")[0] in ("localhost", "127.0.0.1")
        registry, name = ("http://" if local else "https://") + first, rest
    else:
        registry, name = "https://registry-1.docker.io", image if slash else f"library/{image}"
    repository, _, tag = name.partition(":")
    return registry, repository, tag or "latest"


def digest(image: str, timeout_seconds: float = 10.0) -> str:
    """Ask the registry of an image for its digest, `sha256:…`.

    Raises:
        PinError: no registry answers, it refuses, or what it answers is no digest.
    """
    registry, repository, tag = place(image)
    with httpx.Client(timeout=timeout_seconds, follow_redirects=True) as client:
        try:
            address, headers = f"{registry}/v2/{repository}/manifests/{tag}", {"Accept": ", ".join(_TYPES)}
            answer = client.head(address, headers=headers)
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                headers["Authorization"] = f"Bearer {_token(client, answer.headers['www-authenticate'])}"
                answer = client.head(address, headers=headers)
            answer.raise_for_status()
            found = answer.headers["docker-content-digest"]
        except (httpx.HTTPError, KeyError, ValueError) as error:
            raise PinError(
                f"no digest of {image}: {type(error).__name__} {error}".replace("\n", " ")
            ) from None
    if not _DIGEST.fullmatch(found):
        raise PinError(f"no digest of {image}: the registry answered {found[:100]!r}")
    return str(found)


def _token(client: httpx.Client, challenge: str) -> str:
    """Return what an anonymous caller may show, as the registry's challenge says where to get it."""
    told = dict(_CHALLENGE.findall(challenge))
    answer = client.get(told.pop("realm"), params=told).raise_for_status().json()
    return str(answer.get("token") or answer["access_token"])


def pin(dockerfile: Path) -> str:
    """Write the digest into a Dockerfile; return the image's name with it.

    Raises:
        PinError: the file has no `ARG BASE`, or no digest is to be had.
    """
    text = dockerfile.read_text()
    base = _BASE.search(text)
    if base is None:
        raise PinError(f"{dockerfile}: expected a line ARG BASE=IMAGE, found none")
    pinned = f"{base['image']}@{digest(base['image'])}"
    dockerfile.write_text(f"{text[: base.start()]}ARG BASE={pinned}{text[base.end() :]}")
    return pinned


if __name__ == "__main__":
    try:
        print(f"{sys.argv[1]} starts from {pin(Path(sys.argv[1]))}")
    except PinError as failure:
        print(f"{sys.argv[1]} stays as it is: {failure}", file=sys.stderr)
        sys.exit(1)
