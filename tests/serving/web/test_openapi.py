"""schemathesis against the server's own description: no server error, no status or type it does not name."""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")

from serving.monitoring.label_book import LabelBook  # noqa: E402 - after the check
from serving.monitoring.label_store import LabelStore  # noqa: E402
from serving.telemetry.logs import get_logger  # noqa: E402
from serving.web.access import Access  # noqa: E402
from serving.web.app import create_app  # noqa: E402
from tests.serving.web.fakes import FakeModel, fake_service  # noqa: E402

EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "5"))


def described() -> Any:
    service, _ = fake_service(FakeModel(), body_timeout_seconds=5)
    store = LabelStore(None, keep=100, keep_seconds=60, logger=get_logger())
    service.labels = LabelBook(
        store, alarm_delta=0.01, guarantee_delta=0.05, emit=lambda event: None, logger=get_logger()
    )
    app = create_app(service, Access(allow_admin=True))
    return schemathesis.openapi.from_asgi("/openapi.json", app)


schema = described()


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_every_answer_is_one_that_the_description_names(case: Any) -> None:
    case.call_and_validate()
