"""Runs the application on a cluster until it is not wanted any more."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from serving.distributed.application import application
from serving.distributed.cluster import ClusterError
from serving.distributed.options import RayOptions

_REASON = re.compile(r"(?:\w+\.)*\w*Error: (.+)")
_OURS = re.compile(r"serving\.[\w.]+Error: (.+)")


@contextmanager
def running(options: RayOptions, host: str, port: int) -> Iterator[Any]:
    """Run the application on the cluster that this process is connected to.

    Args:
        options: of the replicas.
        host: that Ray's proxies listen on.
        port: their port.

    Yields:
        Ray's handle of the application.

    Raises:
        ClusterError: no replica could start; the text has the reason of one.
    """
    built = application(options)
    from ray import serve

    serve.start(http_options={"host": host, "port": port})
    try:
        yield serve.run(built, name="offramp", route_prefix="/")
    except RuntimeError as error:
        found = serve.status().applications.get("offramp")
        told = [] if found is None else [deployment.message for deployment in found.deployments.values()]
        reason = reason_of("\n".join([str(error), *told]))
        raise ClusterError(f"no replica could start: {reason}") from error
    finally:
        serve.shutdown()


def reason_of(text: str) -> str:
    r"""Return the error of a replica out of Ray's account of it, which is mostly a traceback.

    >>> reason_of("The deployment failed:\n  File x\nserving.errors.BundleError: no bundle in 'a'\n")
    "no bundle in 'a'"
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for form in (_OURS, _REASON):
        if found := [match[1] for line in lines if (match := form.fullmatch(line))]:
            return found[-1]
    return lines[0][:500]
