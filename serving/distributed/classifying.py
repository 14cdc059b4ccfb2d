"""Bulk classification by the workers of a cluster: each classifies whole shards, one by itself.

A worker opens bundle and source as the command does, on its own machine. Shards come back in order, so that
the job is resumed as one of a single process is. Without a total the rows are those of a single process. Of
a total each shard gets its own share and nothing of what others leave over: for S shards the cost T of the
job satisfies B − S × full depth < T ≤ B.
"""

import socket
from collections.abc import Generator
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa

from serving.bulk.answers import Tally
from serving.bulk.arguments import BulkArguments, job_of
from serving.bulk.job import Job, Produce, one_alone
from serving.bulk.ledger import Pace
from serving.distributed.cluster import ClusterError, connected, ray_library
from serving.distributed.options import placed
from serving.errors import OfframpError


class ShardWorker:
    """Classifies shards, in a process of its own.

    Args:
        arguments: of the job.
        identity: of the job as its owner sees it; a worker that sees another one does nothing.
    """

    def __init__(self, arguments: dict[str, Any], identity: dict[str, Any]) -> None:
        self._arguments, self._identity = BulkArguments(**arguments), identity
        self._opened: tuple[Job, Pace | None] | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Classify shards; an error comes back as a text, for Ray would only bring a traceback."""
        made = [self._shard(int(number)) for number in batch["shard"]]
        return {name: [one[name] for one in made] for name in ("rows", "facts", "error")}

    def _shard(self, number: int) -> dict[str, Any]:
        try:
            job, pace = self._open()
            rows, tally = one_alone(job, pace, number)
        except (OfframpError, OSError) as error:
            return {"rows": b"", "facts": "", "error": f"the worker on {socket.gethostname()}: {error}"}
        return {"rows": _packed(rows), "facts": tally.to_json(), "error": ""}

    def _open(self) -> tuple[Job, Pace | None]:
        if self._opened is None:
            job = _alone(job_of(self._arguments))
            mine = job.identity()
            changed = [name for name in self._identity if mine.get(name) != self._identity[name]]
            if changed:
                raise ClusterError(
                    f"expected the same bundle and source as where the job was started, found another "
                    f"{' and '.join(changed)}: put both where every machine sees them"
                )
            self._opened = job, job.pace()
        return self._opened


def spread(job: Job, arguments: BulkArguments, address: str | None, workers: int) -> tuple[Job, Produce]:
    """Make a job one whose shards are classified by the workers of a cluster.

    Args:
        job: as a single process would do it.
        arguments: that it was made of; `threads` are the cores of one worker, one if 0.
        address: of the cluster; see `connected`.
        workers: how many; as many as there is room for if 0.

    Returns:
        the job, and what classifies its shards.

    Raises:
        ClusterError: Ray is missing.
    """
    ray_library()
    cores = arguments.threads or 1
    seen = {"source": placed(arguments.source), "bundle": placed(arguments.bundle)}
    given = arguments.model_copy(update={"threads": cores, **seen})
    return _alone(job), partial(_produce, arguments=given, address=address, workers=workers)


def _alone(job: Job) -> Job:
    """Say in a job's identity that its shards know nothing of each other, where that changes the rows."""
    if job.total_flops is None:
        return job
    return replace(job, facts={**job.facts, "shards": "alone"})


def _produce(
    job: Job, done: Tally, *, arguments: BulkArguments, address: str | None, workers: int
) -> Generator[tuple[Any, Tally], None, None]:
    numbers = range(done.rows // job.shard_rows, -(-len(job.source) // job.shard_rows))
    if not numbers:
        return
    with connected(address) as ray:
        room = int(ray.cluster_resources().get("CPU", 0) // arguments.threads)
        if room < 1:
            raise ClusterError(
                f"expected at least {arguments.threads} cores in the cluster for a worker of --threads "
                f"{arguments.threads}; found {ray.cluster_resources().get('CPU', 0):g}"
            )
        size = min(workers or room, len(numbers))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        shards = ray.data.from_items(
            [{"shard": number} for number in numbers], override_num_blocks=len(numbers)
        )
        made = shards.map_batches(
            ShardWorker,
            batch_size=1,
            num_cpus=arguments.threads,
            compute=ray.data.ActorPoolStrategy(size=size),
            fn_constructor_args=(arguments.model_dump(), job.identity()),
        )
        for row in made.iter_rows():
            if row["error"]:
                raise ClusterError(row["error"])
            yield pa.ipc.open_stream(row["rows"]).read_all(), Tally.from_json(row["facts"])


def _packed(rows: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed
