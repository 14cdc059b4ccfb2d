"""Where models lie: folders of bundles, and single models, which may have names of their own."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from serving.bundle.files import links_root
from serving.errors import BundleError
from serving.repository.folder import FoundModel, find_model, scan


@dataclass(frozen=True)
class Place:
    """A folder of bundles, or one model: a bundle, or its versions.

    Attributes:
        folder: the folder.
        links_below: the folder that links of bundles' files may not lead out of.
        name: of the model, where the folder is one; the folder's own if None.
        alone: whether the folder must be one model.
    """

    folder: Path
    links_below: Path
    name: str | None = None
    alone: bool = False

    @classmethod
    def of(cls, folder: Path, name: str | None = None, *, alone: bool = False) -> Self:
        """Return the place of a folder, its links as `links_root` has them."""
        return cls(folder, links_root(folder), name, alone)

    def models(self) -> dict[str, FoundModel]:
        """List the models that are here, by name.

        Raises:
            OSError: the folder cannot be listed.
        """
        whole = find_model(self.folder)
        if whole is None:
            return {} if self.alone else scan(self.folder)
        named = replace(whole, name=self.name or whole.name)
        return {named.name: named}


class Places:
    """All places of a server; the models of the first come first.

    Args:
        places: each with its models; no two models may have one name.
    """

    def __init__(self, *places: Place) -> None:
        self._places = places

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places)

    def models(self) -> dict[str, FoundModel]:
        """List all models, by name.

        Raises:
            BundleError: two have the same name.
            OSError: a folder cannot be listed.
        """
        found: dict[str, FoundModel] = {}
        for place in self._places:
            for name, model in place.models().items():
                if name in found:
                    raise BundleError(
                        f"two models are called {name!r}, in {_folder(found[name])} and {_folder(model)}: "
                        "give one another name with --model NAME=FOLDER"
                    )
                found[name] = model
        return found

    def links_below(self, folder: Path) -> Path:
        """Return the folder that links of a bundle may not lead out of.

        Args:
            folder: of the bundle, one of those that `models` lists.
        """
        for place in self._places:
            if folder.is_relative_to(place.folder):
                return place.links_below
        return links_root(folder)


def _folder(model: FoundModel) -> str:
    return repr(str(next(iter(model.versions.values()))))
