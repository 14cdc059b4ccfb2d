"""Names of repositories on the Hugging Face Hub: `hf://OWNER/NAME`, `hf://OWNER/NAME@REVISION`."""

import re
from dataclasses import dataclass
from typing import Literal, Self

from serving.errors import HubError

Kind = Literal["model", "dataset"]

SCHEME = "hf://"
_PART = r"[A-Za-z0-9](?:[\w.-]{0,94}[A-Za-z0-9_])?"
_NAME = re.compile(
    rf"(?:hf://)?(?P<kind>datasets/)?(?P<repo>{_PART}/{_PART})(?:@(?P<revision>\w[\w./-]{{0,254}}))?",
    re.ASCII,
)


@dataclass(frozen=True)
class HubName:
    """A repository, at a revision.

    Attributes:
        repo: OWNER/NAME.
        revision: a branch, a tag or a commit; the main branch if None.
        kind: of the repository.
    """

    repo: str
    revision: str | None = None
    kind: Kind = "model"

    @classmethod
    def read(cls, text: str, kind: Kind = "model") -> Self:
        """Read a name; `hf://` may be left out, and so may `datasets/` where a data set is expected.

        Raises:
            HubError: it is none, or one of the other kind.

        >>> HubName.read("hf://ada/pets@v2")
        HubName(repo='ada/pets', revision='v2', kind='model')
        """
        matched = _NAME.fullmatch(text)
        if matched is None or ".." in text or "--" in matched["repo"]:
            raise HubError(f"expected hf://OWNER/NAME or hf://OWNER/NAME@REVISION, found {text[:200]!r}")
        if matched["kind"] and kind == "model":
            raise HubError(f"{text}: expected a repository of a model, found one of a data set")
        return cls(matched["repo"], matched["revision"], kind)

    @property
    def name(self) -> str:
        """The part after the owner."""
        return self.repo.partition("/")[2]

    def __str__(self) -> str:
        """Return the name as it is written."""
        kind = "datasets/" if self.kind == "dataset" else ""
        return f"{SCHEME}{kind}{self.repo}" + (f"@{self.revision}" if self.revision else "")


def is_hub_name(text: str) -> bool:
    """Whether a text can be nothing but a name on the Hub."""
    return text.startswith(SCHEME)
