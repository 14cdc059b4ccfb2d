"""The application of Ray Serve: `serve run serving.distributed.application:application models=bundles`."""

from typing import Any

from serving.distributed.cluster import ray_library
from serving.distributed.options import RayOptions

_MOST_REQUESTS = 1024
"""Requests that Ray may hand to a replica at a time; few would starve its batches."""

_LOOK_SECONDS = 2.0
"""Seconds between two reports of a replica to the autoscaler."""


def application(options: RayOptions) -> Any:
    """Return the application that Ray Serve runs.

    Args:
        options: as keyword arguments of `serve run`, or as `offramp ray` makes them.

    Raises:
        ClusterError: Ray is missing.
    """
    ray_library()
    from ray import serve

    from serving.distributed.replica import Replica

    scaling: dict[str, Any] = {"num_replicas": options.replicas}
    if options.max_replicas is not None:
        scaling = {
            "autoscaling_config": {
                "min_replicas": options.replicas,
                "max_replicas": options.max_replicas,
                "upscale_delay_s": options.upscale_seconds,
                "downscale_delay_s": options.downscale_seconds,
                "metrics_interval_s": _LOOK_SECONDS,
                "look_back_period_s": 5 * _LOOK_SECONDS,
                "policy": {
                    "policy_function": "serving.distributed.scaling:ByWaitingRows",
                    "policy_kwargs": {"target_rows": options.target_waiting_images},
                },
            }
        }
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name="offramp",
        ray_actor_options={"num_cpus": options.cpus, "num_gpus": options.gpus},
        max_ongoing_requests=_MOST_REQUESTS,
        max_constructor_retry_count=1,
        health_check_period_s=options.health_seconds,
        graceful_shutdown_timeout_s=options.settings.get("shutdown_timeout_seconds", 20),
        **scaling,
    )
    return deployment.bind(options.settings, max(1, int(options.cpus)))
