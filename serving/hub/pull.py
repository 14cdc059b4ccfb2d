"""`offramp pull OWNER/NAME`: copy the bundles of a repository of the Hugging Face Hub into a folder."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ByteSize, Field
from pydantic_settings import CliPositionalArg

from serving import command_line
from serving.hub.download import MAX_BYTES


class Arguments(BaseModel):
    """Copy the bundle of a repository of the Hugging Face Hub into a folder, and check it."""

    repository: CliPositionalArg[str] = Field(
        min_length=1, max_length=512, description="OWNER/NAME, or OWNER/NAME@REVISION"
    )
    out: Path | None = Field(None, description="the new folder; exported_models/NAME if not given")
    force: bool = Field(False, description="replace a bundle that is there")
    max_download: ByteSize = Field(
        ByteSize(MAX_BYTES), gt=0, le=2**50, description="the most that the repository's bundles may have"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Pull, and print the folder of each bundle."""
    return command_line.run(lambda: _pull(command_line.read(Arguments, "pull", argv)))


def _pull(arguments: Arguments) -> None:
    from serving.bundle import bundle_folders, check_target
    from serving.hub.bundles import bundle_snapshot, copy_bundle
    from serving.hub.names import HubName

    named = HubName.read(arguments.repository)
    out = arguments.out or Path("exported_models") / named.name
    found = bundle_snapshot(named, arguments.max_download, beside=True)
    bundles = bundle_folders(found)
    targets = [out if bundle == found else out / bundle.name for bundle in bundles]
    for target in targets:
        check_target(target, force=arguments.force)
    for bundle, target in zip(bundles, targets, strict=True):
        copy_bundle(bundle, target, force=arguments.force)
        sys.stdout.write(f"{target}\n")


if __name__ == "__main__":
    sys.exit(main())
