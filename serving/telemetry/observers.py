"""What hears of everything in a process that computes."""

from dataclasses import dataclass
from typing import Self

from structlog.typing import FilteringBoundLogger

from serving.events import Listener, fan_out
from serving.telemetry.live import Live
from serving.telemetry.log_writer import LogWriter
from serving.telemetry.logs import EventLog
from serving.telemetry.metrics import Metrics
from serving.telemetry.statistics import Statistics


@dataclass(frozen=True)
class Observers:
    """What hears of everything in a process.

    Attributes:
        metrics: count all versions of a model together.
        statistics: count each version.
        live: the last minutes of each model.
        emit: takes the events that are no model's.
    """

    metrics: Metrics
    statistics: Statistics
    live: Live
    emit: Listener

    @classmethod
    def of(
        cls, logger: FilteringBoundLogger, writer: LogWriter | None = None, started: float | None = None
    ) -> Self:
        """Make those of a process.

        Args:
            logger: gets a line for each event that is worth one.
            writer: of the log, whose dropped lines are counted.
            started: see `Live`.
        """
        metrics, live = Metrics(), Live(started=started)
        count_dropped_lines(metrics, writer)
        return cls(metrics, Statistics(), live, fan_out(metrics, live, EventLog(logger)))


def count_dropped_lines(metrics: Metrics, writer: LogWriter | None) -> None:
    """Show among the metrics how many log lines were not written."""
    if writer is not None:
        metrics.watch(
            "offramp_log_lines_dropped", "Log lines that were dropped.", lambda: writer.dropped, counts=True
        )
