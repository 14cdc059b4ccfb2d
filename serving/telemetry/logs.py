"""Structured logs on standard error: ours, uvicorn's and every other library's in one format."""

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from serving.events import AgreementMeasured, DriftMeasured, Event, RequestFailed, RowsBroken, WorkerDied

_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Send every log line of the process to one handler; for a program's entry point only.

    Args:
        log_format: `json`, one object a line, or `console`.
        level: the least severe level to write.
        stream: where to; standard error by default.
    """
    stream = stream or sys.stderr
    # Plain tracebacks: the richer ones show local variables, and with them what clients sent.
    endings: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.ExtraAdder(allow=())],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *endings],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def get_logger(name: str = "offramp") -> FilteringBoundLogger:
    """Return a structured logger over the standard library's logger `name`."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
    )
    return logger


class EventLog:
    """A listener that logs what an operator must see: deaths, drift and abandoned work, not the traffic.

    Args:
        logger: where to write.
    """

    def __init__(self, logger: FilteringBoundLogger) -> None:
        self._logger = logger

    def __call__(self, event: Event) -> None:
        """Log one event, if it is of that kind; called from any thread."""
        match event:
            case WorkerDied(model, error):
                self._logger.critical("worker_died", model=model, error=error)
            case RowsBroken(model, exit_index, rows):
                self._logger.warning("images_broken", model=model, exit=exit_index + 1, images=rows)
            case DriftMeasured(model, exit_index, score, limit, changed=True):
                found = {"model": model, "exit": exit_index + 1, "score": score, "limit": limit}
                found |= {"of": event.of, "images": event.rows}
                if event.alarm:
                    self._logger.warning("drift", **found)
                else:
                    self._logger.info("drift_over", **found)
            case AgreementMeasured(model, exit_index, share, expected, alarm, changed=True):
                found = {"model": model, "exit": exit_index + 1, "share": share, "expected": expected}
                if alarm:
                    self._logger.warning("agreement_low", **found)
                else:
                    self._logger.info("agreement_back", **found)
            case RequestFailed(model, error, rows):
                self._logger.info("request_not_answered", model=model, error=error, rows=rows)
