"""State that the parts of the benchmark share: objects, durations, and the figures so far."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.bundle import read_bundle

from . import wrk
from .assets import Assets
from .processes import offramp
from .ratios import Spread

POSTER_BUDGET_FLOPS = 150e6
POSTER_FULL_FLOPS = 340_564_636
"""Where the poster's net costs as much or more, the budget is the poster's; elsewhere the same share."""


@dataclass
class Bench:
    """Objects, durations, and the figures so far.

    Args:
        assets: nets and images.
        work: a folder for logs and environments.
        rounds: how often each comparison is made.
        seconds: of load in each round.
        rows: of the memory part.
        say: shows the progress to the user.
    """

    assets: Assets
    work: Path
    rounds: int
    seconds: float
    rows: int
    say: Callable[[str], None]
    measured: dict[str, Spread] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bundles = {name: read_bundle(net.bundle) for name, net in self.assets.nets.items()}
        full_flops = self.bundles["float32"].manifest.exit_flops[-1]
        dear = full_flops > 2 * POSTER_BUDGET_FLOPS
        self.budget = "150MFLOPs" if dear else f"{100 * POSTER_BUDGET_FLOPS / POSTER_FULL_FLOPS:.0f}%"
        self.pngs = [path.read_bytes() for path in sorted(self.assets.pngs.glob("*.png"))]

    @property
    def query(self) -> str:
        """The path that asks for the budget."""
        return f"/classify?budget={self.budget.replace('%', '%25')}"

    def cheap_budgets(self, precision: str) -> tuple[str, ...]:
        """FLOPs an image that let most images leave at the first exit, and some go further."""
        flops = self.bundles[precision].manifest.exit_flops
        near, between = min(1.2 * flops[0], flops[-1]), (flops[0] + flops[-1]) / 2
        return (f"{near:.0f}",) * 4 + (f"{between:.0f}",)

    def note(self, text: str) -> None:
        """Keep a remark for the reader of the results."""
        self.notes.append(text)
        self.say(f"note: {text}")

    def serve(self, precision: str, *flags: str) -> Any:
        """Run our server over one of the nets, with the loop open: images take the exits of the floors."""
        log = self.work / f"offramp-{precision}{''.join(flags)}.log"
        return offramp(self.assets.nets[precision].bundle, log, "--controller", "off", *flags)


def load_tool(bench: Bench, what: str) -> str | None:
    """wrk, or a note that what it was wanted for is not measured."""
    try:
        return wrk.install()
    except wrk.WrkMissingError as error:
        bench.note(f"{what}: not measured. {error}")
        return None
