"""Which versions of a model are loaded, and which of them answers: `latest`, `all`, or by their numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.errors import VersionError
from serving.repository.folder import FoundModel

LATEST, ALL = "latest", "all"


@dataclass(frozen=True)
class Wanted:
    """What to load of a model.

    Attributes:
        current: the version that answers who names none.
        others: versions that are asked for by their numbers alone.
    """

    current: str
    others: tuple[str, ...] = ()


def wanted(found: FoundModel, policy: str) -> Wanted:
    """Choose versions.

    Args:
        found: what there is.
        policy: `latest`, `all` (and the latest answers), or numbers with `+` between them, the first of
            which answers.

    Raises:
        VersionError: there is no such version.
    """
    if policy == LATEST:
        return Wanted(found.latest)
    if policy == ALL:
        return Wanted(found.latest, tuple(version for version in found.versions if version != found.latest))
    numbers = list(dict.fromkeys(policy.split("+")))
    for number in numbers:
        if number not in found.versions:
            raise VersionError(
                f"model {found.name!r} has no version {number[:60]!r} in its folder: "
                f"expected {among(found.versions)}"
            )
    return Wanted(numbers[0], tuple(numbers[1:]))


def policy_of(name: str, policies: Mapping[str, str]) -> str:
    """Return the policy of a model: the latest version answers where nothing else was set."""
    return policies.get(name, LATEST)


def among(versions: Sequence[str] | Mapping[str, object]) -> str:
    """Name versions in a sentence."""
    *first, last = [*versions] or ["none"]
    return f"{', '.join(first)} or {last}" if first else last
