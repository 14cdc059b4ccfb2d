"""Structured logs on standard error: ours, uvicorn's and every other library's in one format.

Logging never waits for the reader of the log (`serving.telemetry.log_writer`), and no event is logged without
end (`serving.telemetry.log_rates`).
"""

import logging
import os
from collections.abc import Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from serving.events import (
    AccuracyMeasured,
    AgreementMeasured,
    BudgetsLowered,
    DecodeThreadsChanged,
    DriftMeasured,
    Event,
    ModelStalled,
    RequestFailed,
    RowsBroken,
    WorkerDied,
)
from serving.telemetry.log_rates import RateLimit
from serving.telemetry.log_writer import LogWriter

_STANDARD_ERROR = 2  # the descriptor: `sys.stderr` may be missing, replaced, or buffered
_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


_CONTROLS = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (
        *range(0x20),
        *range(0x7F, 0xA0),
        0x200E,
        0x200F,
        *range(0x2028, 0x202F),
        *range(0x2066, 0x206A),
    )
}
"""Characters that move a terminal's cursor, end a line or turn the direction of text, and their escapes."""
_IN_TRACEBACKS = {code: shown for code, shown in _CONTROLS.items() if code not in (0x09, 0x0A)}


class _ToWriter(logging.Handler):
    """Hands formatted lines to a `LogWriter`."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Format a record here, where its values still are what they were, and have it written."""
        try:
            self._writer.write(self.format(record))
        except Exception:  # a value that cannot be shown must not fail the caller that logs it
            self._writer.write(f'{{"event": "log_line_failed", "logger": "{record.name}"}}')


def configure(
    log_format: str, level: str, stream: TextIO | None = None, process: int | None = None
) -> LogWriter | None:
    """Send every log line of the process to one handler; for a program's entry point only.

    Args:
        log_format: `json`, one object a line, or `console`.
        level: the least severe level to write.
        stream: where to, at once; by default to standard error, from a thread of its own.
        process: its number, named in every line; None where it is the only one.

    Returns:
        The writer to standard error; close it at the end. None where a stream is given.
    """
    writer = LogWriter(_STANDARD_ERROR) if stream is None else None
    colours = os.isatty(_STANDARD_ERROR) if stream is None else stream.isatty()
    # Plain tracebacks: the richer ones show local variables, and with them what clients sent.
    endings: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [
            structlog.processors.format_exc_info,
            _escape,
            structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback),
        ]
    )
    handler: logging.Handler = logging.StreamHandler(stream) if writer is None else _ToWriter(writer)
    handler.addFilter(RateLimit())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.ExtraAdder(allow=())],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([] if process is None else [_Naming(process)]),
                *endings,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.raiseExceptions = False  # no traceback of the logging module itself on a broken stream
    return writer


class _Naming:
    """Names the process that a line is from."""

    def __init__(self, process: int) -> None:
        self._process = process

    def __call__(self, _: object, __: str, event: EventDict) -> EventDict:
        """Add its number."""
        return {**event, "process": self._process}


def _escape(_: object, __: str, event: EventDict) -> EventDict:
    """Show control characters in place of sending them to a terminal; a traceback keeps its lines."""
    return {
        _escaped(key, _CONTROLS): _escaped(
            value, _IN_TRACEBACKS if key in ("exception", "stack") else _CONTROLS
        )
        for key, value in event.items()
    }


def _escaped(value: Any, controls: dict[int, str]) -> Any:
    return value.translate(controls) if isinstance(value, str) else value


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
            case WorkerDied(model, error, goes_on):
                self._logger.critical("worker_died", model=model, error=error, goes_on=goes_on)
            case ModelStalled():
                self._stalled(event)
            case RowsBroken(model, exit_index, rows):
                self._logger.warning("images_broken", model=model, exit=exit_index + 1, images=rows)
            case AccuracyMeasured(model, alarm, changed=True):
                self._alarm("accuracy_low" if alarm else "accuracy_back", {"model": model}, alarm)
            case BudgetsLowered(model, priority, share):
                self._logger.info("brownout", model=model, priority=priority, budget_share=round(share, 3))
            case DriftMeasured(model, exit_index, score, limit, changed=True):
                found = {"model": model, "exit": exit_index + 1, "score": score, "limit": limit}
                found |= {"of": event.of, "images": event.rows}
                self._alarm("drift" if event.alarm else "drift_over", found, event.alarm)
            case AgreementMeasured(model, exit_index, share, expected, alarm, changed=True):
                found = {"model": model, "exit": exit_index + 1, "share": share, "expected": expected}
                self._alarm("agreement_low" if alarm else "agreement_back", found, alarm)
            case RequestFailed(model, error, rows):
                self._logger.info("request_not_answered", model=model, error=error, rows=rows)
            case DecodeThreadsChanged(threads):
                self._logger.info("decode_threads", threads=threads)

    def _alarm(self, event: str, found: Mapping[str, Any], raised: bool) -> None:
        log = self._logger.warning if raised else self._logger.info
        log(event, **found)

    def _stalled(self, event: ModelStalled) -> None:
        found = {"model": event.model, "seconds": round(event.seconds, 1)}
        if event.over:
            self._logger.warning("model_goes_on", **found)
        else:
            self._logger.critical("model_stalled", **found)
