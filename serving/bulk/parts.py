"""The folder of finished shards beside an output, and their joining into it.

Each shard is a file that appears whole or not at all, and so is the output. Shards are finished in order: the
next one of a killed job is the first that has no file.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from serving.bulk.answers import Tally
from serving.errors import OfframpError
from serving.system.atomic import locked, replacing, write_atomically

_JOB = "job.json"
_KEY = b"offramp"


class OutputError(OfframpError):
    """An output that is in the way, or that belongs to another job."""

    title = "unusable output"


class Parts:
    """The finished shards of one output.

    Args:
        out: the output.
        job: what the answers depend on, as plain values.
    """

    def __init__(self, out: Path, job: Mapping[str, Any]) -> None:
        self._out, self._job = out, json.loads(json.dumps(job))
        self.folder = out.with_name(out.name + ".parts")

    @contextmanager
    def opened(self, *, resume: bool, force: bool) -> Iterator[bool]:
        """Hold the output for this process until the block ends.

        Args:
            resume: go on with what is there, if it is of the same job.
            force: replace what is there.

        Yields:
            whether the output is complete already.

        Raises:
            OutputError: something is there, and neither was asked for; it is of another job; or another
                process works on it.
            OSError: the folder cannot be written.
        """
        check_output(self._out)
        if not (resume or force):
            self._refuse_what_is_there()
        if resume and self._out.exists():
            self._compare(_output_job(self._out), self._out)
            shutil.rmtree(self.folder, ignore_errors=True)
            yield True
            return
        self.folder.mkdir(exist_ok=True)
        try:
            with locked(self.folder):
                self._begin(resume=resume)
                yield False
        except BlockingIOError as error:
            raise OutputError(f"{self._out}: another process works on it") from error

    def finished(self) -> list[Tally]:
        """Return what the finished shards add up to, in order; what follows a gap is deleted."""
        tallies: list[Tally] = []
        while (path := self._shard(len(tallies))).exists():
            tallies.append(_tally(path))
        for path in self.folder.glob("*.parquet"):
            if int(path.stem) >= len(tallies):
                path.unlink()
        return tallies

    def add(self, number: int, table: Any, tally: Tally) -> None:
        """Write a shard, at once or not at all.

        Raises:
            OSError: it cannot be written.
        """
        kept = table.replace_schema_metadata({_KEY: json.dumps(tally.facts())})
        with replacing(self._shard(number)) as file:
            pq.write_table(kept, file, compression="zstd")

    def join(self, shards: int, schema: Any, summary: Mapping[str, Any]) -> None:
        """Write the output from all shards, at once or not at all, and delete them.

        Raises:
            OSError: it cannot be written; the shards stay.
        """
        metadata = {_KEY: json.dumps({"job": self._job, "summary": summary})}
        with (
            replacing(self._out) as file,
            pq.ParquetWriter(file, schema.with_metadata(metadata), compression="zstd") as writer,
        ):
            for number in range(shards):
                writer.write_table(pq.read_table(self._shard(number)).replace_schema_metadata(metadata))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _begin(self, *, resume: bool) -> None:
        job = self.folder / _JOB
        if resume and job.exists():
            self._compare(json.loads(job.read_bytes()), self.folder)
            return
        for path in self.folder.glob("*.parquet"):
            path.unlink()
        write_atomically(job, json.dumps(self._job, indent=1))

    def _refuse_what_is_there(self) -> None:
        if self._out.exists():
            raise OutputError(
                f"{self._out} exists already; choose another, go on by --resume, or replace it with --force"
            )
        if self.folder.exists():
            raise OutputError(
                f"{self.folder} holds an unfinished job; go on with it by --resume, or begin anew by --force"
            )

    def _compare(self, found: Mapping[str, Any] | None, place: Path) -> None:
        if found is None:
            raise OutputError(f"{place} is no output of this command; choose another --out, or give --force")
        changed = [name for name in {**found, **self._job} if found.get(name) != self._job.get(name)]
        if changed:
            told = "; ".join(
                f"{name}: {found.get(name)!s:.80} then, {self._job.get(name)!s:.80} now" for name in changed
            )
            raise OutputError(
                f"{place} is of another job ({told}); give the same arguments, or begin anew by --force"
            )

    def _shard(self, number: int) -> Path:
        return self.folder / f"{number:08}.parquet"


def check_output(out: Path) -> None:
    """Refuse a place where the output could not be written.

    Raises:
        OutputError: no parquet file by its name, a folder, or in a folder that does not exist.
    """
    if out.suffix != ".parquet":
        raise OutputError(f"--out: expected a name that ends in .parquet, found {out.name!r}")
    if not out.parent.is_dir():
        raise OutputError(f"--out: there is no folder {str(out.parent)!r}")
    if out.is_dir():
        raise OutputError(f"--out: expected a file, found a folder at {str(out)!r}")


def _output_job(out: Path) -> Mapping[str, Any] | None:
    try:
        metadata = pq.read_schema(out).metadata or {}
        job = json.loads(metadata[_KEY])["job"]
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError):
        return None
    return job if isinstance(job, dict) else None


def _tally(path: Path) -> Tally:
    try:
        return Tally.of(json.loads(pq.read_schema(path).metadata[_KEY]))
    except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise OutputError(f"{path} is damaged: begin anew by --force") from error
