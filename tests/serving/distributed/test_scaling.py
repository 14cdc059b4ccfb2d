from types import SimpleNamespace

import pytest

from serving.distributed.scaling import ByWaitingRows


@pytest.mark.parametrize(
    ("waiting", "replicas"),
    [({}, 1), ({"a": 0.0}, 1), ({"a": 32.0, "b": 1.0}, 2), ({"a": 70.0, "b": 30.0}, 4), ({"a": 1e6}, 8)],
)
def test_replicas_share_what_waits_within_their_bounds(waiting: dict[str, float], replicas: int) -> None:
    context = SimpleNamespace(
        aggregated_metrics={"waiting_rows": waiting},
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=8,
    )
    assert ByWaitingRows(target_rows=32)(context) == (replicas, {})


def test_replicas_that_have_reported_nothing_stay_at_the_fewest() -> None:
    context = SimpleNamespace(
        aggregated_metrics=None, capacity_adjusted_min_replicas=2, capacity_adjusted_max_replicas=8
    )
    assert ByWaitingRows()(context) == (2, {})
