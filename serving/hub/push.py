"""`offramp push BUNDLE OWNER/NAME`: put a bundle into a repository of the Hugging Face Hub."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from serving import command_line


class Arguments(BaseModel):
    """Put a bundle into a repository of the Hugging Face Hub, which is made where it does not exist."""

    bundle: CliPositionalArg[Path] = Field(description="the bundle's folder")
    repository: CliPositionalArg[str] = Field(
        min_length=1, max_length=512, description="OWNER/NAME, or OWNER/NAME@BRANCH"
    )
    private: bool | None = Field(None, description="a new repository is seen by its owner alone")
    message: str = Field("Upload a bundle", min_length=1, max_length=2000, description="of the commit")


def main(argv: Sequence[str] | None = None) -> int:
    """Push, and print the address of the commit."""
    return command_line.run(lambda: _push(command_line.read(Arguments, "push", argv)))


def _push(arguments: Arguments) -> None:
    from serving.bundle import read_bundle
    from serving.hub.names import HubName
    from serving.hub.upload import push

    named = HubName.read(arguments.repository)
    bundle = read_bundle(arguments.bundle)
    address = push(bundle, named, message=arguments.message, private=arguments.private)
    sys.stdout.write(f"{address}\n")


if __name__ == "__main__":
    sys.exit(main())
