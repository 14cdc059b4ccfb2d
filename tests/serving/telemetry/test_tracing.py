"""Spans over the app as it is served, with OpenTelemetry's SDK gathering them; none without one."""

import asyncio
import json
import logging
from io import BytesIO, StringIO

import httpx
import pytest
from PIL import Image
from prometheus_client.openmetrics.parser import text_string_to_metric_families

pytest.importorskip("opentelemetry.sdk", reason="needs OpenTelemetry's SDK")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from serving.errors import EngineError
from serving.telemetry import logs
from serving.telemetry.tracing import Tracing, open_tracing
from serving.web.app import create_app
from tests.bundles import tiny_images
from tests.serving.web.fakes import FakeModel, fake_service

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


def image() -> bytes:
    stream = BytesIO()
    Image.fromarray(tiny_images(1)[0]).save(stream, "PNG")
    return stream.getvalue()


def ask(
    model: FakeModel, path: str, headers: dict[str, str], sampler: Sampler = ALWAYS_ON
) -> tuple[list[ReadableSpan], httpx.Response, httpx.Response]:
    """Ask once; return the spans, the answer, and the metrics as OpenMetrics."""
    service, _ = fake_service(model, access_log=True)
    exporter, provider = InMemorySpanExporter(), TracerProvider(sampler=sampler)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    service.tracing = Tracing(provider.get_tracer("test"))
    app = create_app(service)

    async def send() -> tuple[list[ReadableSpan], httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.post(path, content=image(), headers={"Content-Type": "image/png"} | headers)
            spans = list(exporter.get_finished_spans())
            accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
            return spans, answer, await client.get("/metrics", headers=accept)

    return asyncio.run(send())


def test_a_request_is_a_span_below_its_callers_with_its_parts_below_it() -> None:
    spans, answer, _ = ask(FakeModel(), "/classify?budget=50%25", TRACEPARENT)
    assert answer.status_code == 200
    (root,) = [span for span in spans if span.name == "POST /classify"]
    assert root.parent is not None
    assert f"{root.parent.span_id:016x}" == PARENT
    assert {f"{span.context.trace_id:032x}" for span in spans} == {TRACE}
    children = {span.name: span for span in spans if span is not root}
    assert {"decode", "stage 1"} <= children.keys() <= {"decode", "queue", "stage 1", "answer"}
    for child in children.values():
        assert child.parent is not None
        assert child.parent.span_id == root.context.span_id
        assert root.start_time is not None
        assert child.start_time is not None
        assert child.end_time is not None
        assert root.start_time <= child.start_time <= child.end_time
    attributes = dict(root.attributes or {})
    assert attributes["http.response.status_code"] == 200
    assert attributes["http.route"] == "/classify"
    assert attributes["offramp.exits"] == (1,)
    assert attributes["offramp.flops"] == 1_000
    assert attributes["offramp.budget_flops"] == 3_500.0
    assert attributes["offramp.model"] == "tiny"
    assert dict(children["stage 1"].attributes or {}) == {"offramp.batch_images": 8, "offramp.images": 1}


def test_a_failure_of_the_server_is_an_error_and_one_of_the_caller_is_none() -> None:
    spans, answer, _ = ask(FakeModel(failure=EngineError("broken")), "/classify", {})
    assert answer.status_code == 500
    assert spans[-1].status.status_code.name == "ERROR"
    spans, answer, _ = ask(FakeModel(), "/classify?buget=1", {})
    assert answer.status_code == 422
    assert spans[-1].status.status_code.name == "UNSET"


def test_a_request_that_is_not_sampled_takes_no_times() -> None:
    model = FakeModel()
    spans, answer, metrics = ask(model, "/classify", TRACEPARENT, ALWAYS_OFF)
    assert answer.status_code == 200
    assert spans == []
    assert not model.asked[0][1].timings
    assert TRACE not in metrics.text


def test_the_trace_is_in_the_log_and_an_exemplar_of_the_latency() -> None:
    root, written = logging.getLogger(), StringIO()
    handlers, level = root.handlers[:], root.level
    logs.configure("json", "info", written)
    try:
        _, _, metrics = ask(FakeModel(), "/classify", TRACEPARENT)
    finally:
        root.handlers[:], root.level = handlers, level
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    (answered,) = [line for line in lines if line["event"] == "answered" and line["path"] == "/classify"]
    assert answered["trace_id"] == TRACE
    assert metrics.headers["content-type"].startswith("application/openmetrics-text")
    exemplars = [
        sample.exemplar.labels["trace_id"]
        for family in text_string_to_metric_families(metrics.text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.name == "offramp_http_request_seconds_bucket" and sample.exemplar
    ]
    assert TRACE in exemplars


def test_without_a_provider_there_is_no_tracing() -> None:
    assert open_tracing("1") is None
