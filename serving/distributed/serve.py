"""`offramp ray`: serve bundles by replicas on a Ray cluster."""

import json
import sys
import time
from collections.abc import Sequence

from pydantic import Field

from serving import command_line
from serving.distributed.options import RayOptions
from serving.errors import OfframpError


class Arguments(RayOptions):
    """Serve bundles by replicas on a Ray cluster, each with its own closed loop."""

    host: str = Field("127.0.0.1", description="the address that Ray's proxies listen on")
    port: int = Field(8000, ge=1, le=65535, description="their port")
    address: str | None = Field(
        None, min_length=1, max_length=1024, description="the cluster; one on this machine if not given"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted."""
    return command_line.run(lambda: _serve(command_line.read(Arguments, "ray", argv)))


def _serve(arguments: Arguments) -> int:
    from serving.distributed.cluster import connected
    from serving.distributed.running import running

    with connected(arguments.address), running(arguments, arguments.host, arguments.port):
        line = {"event": "listening", "url": f"http://{arguments.host}:{arguments.port}"}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OfframpError as error:
        sys.exit(str(error))
