"""Every attack on the server and on training, one after the other, and a table of what held.

    python -m benchmarks.attack                     all of them, in under five minutes
    python -m benchmarks.attack --only heads,framing

Loopback only; every attack ends by itself. Ends with code 1 where something did not hold.
"""

import argparse
import sys
import time

from benchmarks.attack import ATTACKS
from benchmarks.attack.finding import Finding


def main() -> int:
    """Run the attacks asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help=f"some of {', '.join(ATTACKS)}, separated by commas")
    given = parser.parse_args()
    chosen = given.only.split(",") if given.only else list(ATTACKS)
    if unknown := sorted(set(chosen) - set(ATTACKS)):
        parser.error(f"no attack {', '.join(unknown)}: expected some of {', '.join(ATTACKS)}")
    started, failed, seen = time.monotonic(), 0, 0
    print("| attack | found | expected | held |\n|---|---|---|---|", flush=True)
    for name in chosen:
        for finding in _findings(name):
            seen, failed = seen + 1, failed + (not finding.held)
            held = "yes" if finding.held else "**no**"
            print(f"| {name}: {finding.attack} | {finding.found} | {finding.expected} | {held} |", flush=True)
    print(f"\n{seen - failed} of {seen} held, in {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


def _findings(name: str) -> list[Finding]:
    findings: list[Finding] = []
    try:
        findings.extend(ATTACKS[name]())
    except Exception as error:  # an attack that cannot even be made is one that was not withstood
        findings.append(Finding("could be made", f"{type(error).__name__}: {error}"[:200], "no error", False))
    return findings


if __name__ == "__main__":
    sys.exit(main())
