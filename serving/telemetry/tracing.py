"""Spans of requests for OpenTelemetry, made of times that were taken on the way.

Only OpenTelemetry's API is used: its SDK, exporter and sampler are the operator's choice
(`opentelemetry-instrument offramp serve`, or a provider that is set before the server starts). Where none is
set there is no `Tracing`, and a request pays for one comparison. Where a request is not sampled, no times are
taken.

Most of a request happens in other threads than its own. Its children are therefore not opened and closed on
the way: they are written once it is over, from the times that the job and the scheduler noted.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import structlog

from serving.answer import Answer
from serving.telemetry.request_times import RequestTimes

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_NAME = "offramp"
Ended = Callable[[str, Mapping[str, str | int], bool], None]
"""Told of a span's last name, of attributes, and whether the server failed."""
_MOST_EXITS = 32  # of one request that a span names


class Tracing:
    """Makes spans.

    Args:
        tracer: of OpenTelemetry's API.
    """

    def __init__(self, tracer: "Tracer") -> None:
        from opentelemetry import propagate, trace

        self._tracer, self._propagate, self._trace = tracer, propagate, trace

    @contextmanager
    def request(
        self, name: str, headers: Mapping[str, str], attributes: Mapping[str, str]
    ) -> Iterator[Ended]:
        """Open the span of a request, below the caller's own if it sent a `traceparent`.

        While it is open its trace id is in every log line of the request.

        Args:
            name: of the span.
            headers: of the request, in lower case.
            attributes: of the span.

        Yields:
            A function to be told of the end.
        """
        parent = self._propagate.extract(dict(headers))
        kind = self._trace.SpanKind.SERVER
        with self._tracer.start_as_current_span(
            name,
            parent,
            kind,
            attributes=dict(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            trace_id = f"{span.get_span_context().trace_id:032x}"

            def ended(name: str, attributes: Mapping[str, str | int], failed: bool) -> None:
                span.update_name(name)
                span.set_attributes(dict(attributes))
                if failed:
                    span.set_status(self._trace.StatusCode.ERROR)

            with structlog.contextvars.bound_contextvars(trace_id=trace_id):
                yield ended

    @property
    def sampled(self) -> bool:
        """Whether the request under way is recorded."""
        return self._trace.get_current_span().is_recording()

    @property
    def exemplar(self) -> dict[str, str] | None:
        """The trace of the request under way, for a metric; None where it is not recorded."""
        span = self._trace.get_current_span()
        if not span.is_recording():
            return None
        return {"trace_id": f"{span.get_span_context().trace_id:032x}"}

    def answered(self, times: RequestTimes, answers: Sequence[Answer]) -> None:
        """Write down where a request's time went, and what was answered.

        Args:
            times: taken on the way.
            answers: of its images.
        """
        span = self._trace.get_current_span()
        if answers:
            span.set_attributes(
                {
                    "offramp.model": answers[0].model,
                    "offramp.images": len(answers),
                    "offramp.budget_flops": answers[0].budget_flops,
                    "offramp.flops": sum(answer.flops for answer in answers),
                    "offramp.exits": [answer.exit for answer in answers[:_MOST_EXITS]],
                }
            )
        for part in times.parts():
            self._child(span, part.name, part.begun, part.ended, part.attributes)

    def _child(
        self, parent: "Span", name: str, begun: float, ended: float, attributes: Mapping[str, Any]
    ) -> None:
        offset = time.time_ns() - time.monotonic_ns()
        child = self._tracer.start_span(
            name,
            self._trace.set_span_in_context(parent),
            start_time=offset + int(1e9 * begun),
            attributes=dict(attributes),
        )
        child.end(offset + int(1e9 * ended))


def open_tracing(version: str) -> Tracing | None:
    """Return what makes spans; None where OpenTelemetry's API is not installed, or nobody set a provider.

    Args:
        version: of the server.
    """
    if find_spec("opentelemetry") is None:
        return None
    from opentelemetry import trace

    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None
    return Tracing(trace.get_tracer(_NAME, version))
