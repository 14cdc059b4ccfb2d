"""`offramp check BUNDLE`: judge whether a bundle is fit to be served; exit status 1 where it is not."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from serving import command_line


class Arguments(BaseModel):
    """Judge whether a bundle is fit to be served."""

    bundle: CliPositionalArg[str] = Field(
        min_length=1, max_length=4096, description="the bundle's folder, or hf://OWNER/NAME[@REVISION]"
    )
    as_json: bool = Field(False, alias="json", description="print JSON instead of lines")


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line per check; the exit status is 0 where all passed, 1 where one failed."""
    return command_line.run(lambda: _check(command_line.read(Arguments, "check", argv)))


def _check(arguments: Arguments) -> int:
    from serving.bundle_check import check_bundle

    verdicts = list(check_bundle(arguments.bundle))
    passed = all(verdict.ok for verdict in verdicts)
    if arguments.as_json:
        checks = [asdict(verdict) for verdict in verdicts]
        result = {"bundle": str(arguments.bundle), "ok": passed, "checks": checks}
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        for verdict in verdicts:
            sys.stdout.write(f"{'ok  ' if verdict.ok else 'FAIL'} {verdict.check}: {verdict.detail}\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
