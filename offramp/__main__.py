"""`offramp COMMAND`, or `python -m offramp COMMAND`: one command for serving and training."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from offramp import __version__
from offramp._siblings import bind


@dataclass(frozen=True)
class Command:
    """A command: the module whose `main` runs it, imported only when chosen, and what it is for."""

    module: str
    summary: str


COMMANDS = {
    "serve": Command("serving.__main__", "serve bundles over HTTP"),
    "check": Command("serving.check", "judge whether a bundle is fit to be served"),
    "classify": Command("serving.classify", "classify a folder or data set into one parquet file"),
    "ray": Command("serving.distributed.serve", "serve bundles by replicas on a Ray cluster"),
    "push": Command("serving.hub.push", "put a bundle into a repository of the Hugging Face Hub"),
    "pull": Command("serving.hub.pull", "copy a bundle from a repository of the Hugging Face Hub"),
    "fit": Command("training.fit", "train a multi-exit model"),
    "watch": Command("training.watch", "show a run on a page while it trains"),
    "evaluate": Command("training.evaluate", "measure accuracy per exit and under budgets"),
    "export": Command("training.export", "export a run to a bundle"),
    "calibrate": Command("training.calibrate", "fit a bundle's thresholds to other images"),
    "cascade": Command("training.cascade", "make one bundle of trained networks"),
    "adopt": Command("training.adopt", "give a trained network early exits"),
    "advise": Command("training.advise", "measure which way of serving networks is best"),
    "convert": Command("training.convert", "make a run of a published MSDNet checkpoint"),
    "describe": Command("training.describe", "print FLOPs and parameters per exit"),
    "card": Command("training.card", "write a bundle's model card"),
    "gallery": Command("training.gallery", "draw the images that leave at each exit"),
    "compare": Command("training.compare", "train by several methods and report"),
    "conflict": Command("training.conflict", "measure how the exits' gradients conflict"),
    "importance": Command("training.importance", "prune parameters by their fusion weights"),
    "demo": Command("training.demo.__main__", "train, export, serve and ask a small model"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first word names.

    Args:
        argv: the command line; the process's own where None.

    Returns:
        The exit status: the command's own, or 2 where there is no such command.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0] in COMMANDS:
        return run(words[0], words[1:])
    if words and not words[0].startswith("-"):
        near = get_close_matches(words[0], COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else "`offramp --help` lists them"
        sys.stderr.write(f"error: expected a command, found {words[0]!r}; {hint}\n")
        return 2
    given = _parser().parse_args(words)
    if given.print_completion:
        from offramp._completion import completion

        listed = [(name, command.module, command.summary) for name, command in COMMANDS.items()]
        sys.stdout.write(completion(_parser(), listed, given.print_completion) + "\n")
        return 0
    _parser().print_help()
    return 0


def run(name: str, words: Sequence[str]) -> int:
    """Run a command with the words after its name, and return its exit status."""
    bind("serving")
    from serving import command_line

    def command() -> int:
        module = COMMANDS[name].module
        bind(module.partition(".")[0])
        status: int = importlib.import_module(module).main(words)
        return status

    return command_line.run(command)


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="offramp",
        usage="offramp COMMAND ...",
        description="Image classifiers that answer easy images at an early exit, under a FLOPs budget.",
        epilog=f"commands:\n{listed}\n\n`offramp COMMAND --help` lists a command's arguments.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"offramp {__version__}")
    parser.add_argument(
        "--print-completion", choices=("bash", "zsh", "tcsh"), help="print a completion script for a shell"
    )
    return parser


if __name__ == "__main__":
    status = main()
    if "WORLD_SIZE" in os.environ:
        from serving.command_line import leave

        leave(status)
    sys.exit(status)
