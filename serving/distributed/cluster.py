"""The Ray cluster that work is given to."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from serving.errors import OfframpError


class ClusterError(OfframpError):
    """Ray is missing, or a cluster or one of its workers cannot do what is asked."""

    title = "unusable cluster"


def ray_library() -> Any:
    """Import Ray.

    Raises:
        ClusterError: it is not installed.
    """
    if find_spec("ray") is None:
        raise ClusterError("Ray is not installed: pip install 'offramp[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers of every start
    import ray

    return ray


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Connect to a cluster until the block ends, or start one on this machine where none is named.

    Args:
        address: of the cluster, such as `auto` or `ray://head:10001`; else `RAY_ADDRESS`, or a new one.

    Yields:
        Ray.

    Raises:
        ClusterError: Ray is missing, or the cluster cannot be reached.
    """
    ray = ray_library()
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, configure_logging=False)
    except Exception as error:  # Ray raises a bare Exception where its processes do not start in time
        raise ClusterError(f"no Ray cluster at {address or 'this machine'}: {error}") from error
    try:
        yield ray
    finally:
        ray.shutdown()
