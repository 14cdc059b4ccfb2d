"""schemathesis against the server's own description: no server error, no status or type it does not name.

All of its checks but one. That one wants every request accepted that the description allows, and OpenAPI
cannot say that two parameters contradict each other, or that bytes are an image.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")
checks = pytest.importorskip("schemathesis.specs.openapi.checks", reason="needs schemathesis")

from serving.monitoring.label_book import LabelBook  # noqa: E402 - after the check
from serving.monitoring.label_store import LabelStore  # noqa: E402
from serving.telemetry.logs import get_logger  # noqa: E402
from serving.web.access.control import Access  # noqa: E402
from serving.web.app import create_app  # noqa: E402
from tests.serving.web.fakes import FakeModel, fake_service  # noqa: E402

FUZZING = settings.get_current_profile_name() == "fuzz"
EXAMPLES = max(4, settings().max_examples // 50) if FUZZING else 3

schemathesis.serializer.alias("application/x-npy", "application/octet-stream")
service, _ = fake_service(FakeModel())


@pytest.fixture(autouse=True, scope="module")
def labels() -> Iterator[None]:
    store = LabelStore(None, keep=100, keep_seconds=60, logger=get_logger())
    service.labels = LabelBook(
        store, alarm_delta=0.01, guarantee_delta=0.05, emit=lambda event: None, logger=get_logger()
    )
    yield
    service.labels.close()


schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(service, Access(allow_admin=True)))


@pytest.mark.fuzz
@schema.parametrize()  # type: ignore[untyped-decorator]
@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=not FUZZING
)
def test_every_answer_is_one_that_the_description_names(case: Any) -> None:
    case.call_and_validate(excluded_checks=[checks.positive_data_acceptance])
