"""The number of replicas, by the images that wait in them."""

import math
from typing import Any

WAITING = "waiting_rows"
"""What a replica reports of itself to Ray's autoscaler."""


class ByWaitingRows:
    """A policy of Ray Serve's autoscaler: so many replicas that each has about its share of waiting images.

    Args:
        target_rows: images that may wait in a replica.
    """

    def __init__(self, target_rows: float = 32.0) -> None:
        self._target_rows = target_rows

    def __call__(self, context: Any) -> tuple[float, dict[str, Any]]:
        """Return the wanted number of replicas, and no state.

        Args:
            context: Ray's `AutoscalingContext`.
        """
        waiting = (context.aggregated_metrics or {}).get(WAITING, {})
        wanted = math.ceil(sum(waiting.values()) / self._target_rows)
        bounds = (context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas)
        return max(bounds[0], min(bounds[1], wanted)), {}
