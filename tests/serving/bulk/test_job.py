"""A job: right answers, broken images, resumption at any shard, totals."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from serving.bulk.classifier import BulkClassifier
from serving.bulk.decoding import Limits
from serving.bulk.job import Job, run, total_flops
from serving.bulk.opening import open_source
from serving.bulk.parts import OutputError
from serving.bundle import Bundle
from serving.engine.engine import Engine
from serving.errors import BudgetError, EngineError
from serving.interfaces import FloatArray, RunStage, Tensors, WaitingFeatures
from serving.model import Model
from serving.options import ClassifyOptions, ServingConfig
from tests.bundles import EXIT_FLOPS, tiny_bundle, tiny_images
from tests.serving.bulk.sources import as_parquet, pngs

COUNT, SHARD = 100, 16
BROKEN = (0, 15, 16, 40)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return as_parquet(tmp_path_factory.mktemp("source") / "a.parquet", pngs(COUNT, broken=BROKEN))


@pytest.fixture(scope="module")
def classifier(bundle: Bundle) -> BulkClassifier:
    return BulkClassifier.load(bundle, ClassifyOptions(budget="50%"), threads=1)


@pytest.fixture
def job(tmp_path: Path, source: Path, classifier: BulkClassifier) -> Job:
    return Job(
        source=open_source(str(source)),
        classifier=classifier,
        out=tmp_path / "answers.parquet",
        facts={"bundle": "tiny"},
        limits=Limits(max_pixels=1000, threads=2),
        shard_rows=SHARD,
    )


def rows_of(job: Job) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(job.out).to_pylist()
    return rows


def test_columns_of_the_source_are_carried_to_the_output(job: Job, source: Path) -> None:
    kept = replace(job, source=open_source(str(source), keep=("label",)))
    run(kept)
    table = pq.read_table(kept.out)
    assert table.schema.names[-1] == "label"
    assert table.schema.field("label").type == pq.read_schema(source).field("label").type
    assert table.column("label").to_pylist() == list(range(COUNT))
    with pytest.raises(OutputError, match="of another job \\(keep"):
        run(job, resume=True)


def stopping(after: int) -> Callable[[object], None]:
    """What ends a job as soon as it has written so many shards."""
    calls = iter(range(after + 1))

    def tell(tally: object) -> None:
        if next(calls) == after:
            raise KeyboardInterrupt

    return tell


def test_answers_are_those_of_the_model_and_broken_images_are_rows(job: Job, bundle: Bundle) -> None:
    report = run(replace(job, probabilities=True))
    rows = rows_of(job)
    with Model.load(bundle, threads=1, rules=ServingConfig(controller=False, brownout=False)) as model:
        expected = model.classify(tiny_images(COUNT), ClassifyOptions(budget="50%", probabilities=True))

    assert [row["row"] for row in rows] == list(range(COUNT))
    assert [row["path"] for row in rows] == [f"{number:05}.png" for number in range(COUNT)]
    for number, (row, answer) in enumerate(zip(rows, expected, strict=True)):
        if number in BROKEN:
            assert "PNG" in row.pop("error")
            assert {value for name, value in row.items() if name not in ("row", "path")} == {None}
            continue
        found = (row["class_index"], row["class_name"], row["exit"], row["flops"], row["error"])
        assert found == (answer.class_index, answer.class_name, answer.exit, answer.flops, None)
        assert row["confidence"] == pytest.approx(answer.confidence, abs=1e-5)
        assert answer.probabilities is not None
        np.testing.assert_allclose(row["probabilities"], answer.probabilities, atol=1e-5)
    assert report.tally.errors == len(BROKEN)
    assert report.tally.flops == sum(row["flops"] or 0 for row in rows)
    assert sum(report.tally.exits.values()) == COUNT - len(BROKEN)
    assert not list(job.out.parent.glob("*.parts"))


@pytest.mark.parametrize("total", [None, 400_000])
@pytest.mark.parametrize("shards", range(0, 8))
def test_stopped_after_any_shard_and_resumed_the_rows_are_the_same(
    job: Job, tmp_path: Path, shards: int, total: int | None
) -> None:
    whole = replace(job, out=tmp_path / "whole.parquet", total_flops=total)
    run(whole)
    stopped = replace(job, total_flops=total)
    with pytest.raises(KeyboardInterrupt):
        run(stopped, tell=stopping(shards))
    assert not stopped.out.exists()

    report = run(stopped, resume=True)

    assert rows_of(stopped) == rows_of(whole)
    assert report.resumed_rows == min(shards * SHARD, COUNT)


def test_a_total_is_met_from_below(job: Job) -> None:
    for share in (0.2, 0.5, 0.9):
        total = total_flops(f"{100 * share}%", COUNT, EXIT_FLOPS)
        report = run(replace(job, total_flops=total), force=True)
        assert total - EXIT_FLOPS[-1] < report.tally.flops <= total
        assert report.tally.flops == sum(row["flops"] or 0 for row in rows_of(job))


def test_a_total_under_the_cheapest_exit_buys_nothing() -> None:
    with pytest.raises(BudgetError, match=r"--budget-total for 100 images: .* under the cheapest exit"):
        total_flops("99 kFLOPs", COUNT, EXIT_FLOPS)


def test_what_is_there_is_neither_replaced_nor_mixed_with(job: Job) -> None:
    run(job)
    before = job.out.read_bytes()
    with pytest.raises(OutputError, match="exists already; choose another, go on by --resume"):
        run(job)
    assert run(job, resume=True).complete_before
    with pytest.raises(OutputError, match="of another job \\(total_flops: None then, 400000 now\\)"):
        run(replace(job, total_flops=400_000), resume=True)
    assert job.out.read_bytes() == before
    assert not run(replace(job, total_flops=400_000), force=True).complete_before


def test_an_unfinished_job_is_neither_forgotten_nor_mixed_with(job: Job) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(job, tell=stopping(2))
    with pytest.raises(OutputError, match="holds an unfinished job; go on with it by --resume"):
        run(job)
    with pytest.raises(OutputError, match="of another job \\(max_pixels: 1000 then, 999 now\\)"):
        run(replace(job, limits=Limits(999, 2)), resume=True)
    assert run(job, force=True).resumed_rows == 0


def test_a_file_that_is_no_output_of_a_job_is_not_taken_for_one(job: Job, source: Path) -> None:
    job.out.write_bytes(source.read_bytes())
    with pytest.raises(OutputError, match="is no output of this command"):
        run(job, resume=True)


def test_two_processes_do_not_work_on_one_output(job: Job) -> None:
    def tell(tally: object) -> None:
        with pytest.raises(OutputError, match="another process works on it"):
            run(job, resume=True)

    run(job, tell=tell)
    assert len(rows_of(job)) == COUNT


def test_the_output_says_what_it_was_made_of(job: Job) -> None:
    report = run(job)
    said = json.loads(pq.read_schema(job.out).metadata[b"offramp"])
    assert said["job"] == job.identity()
    assert said["summary"] == report.tally.facts()


def test_images_on_which_the_engine_fails_are_rows_with_an_error(job: Job, bundle: Bundle) -> None:
    engine = Engine(bundle, threads=1)

    def make_run(waiting: WaitingFeatures, *, max_batch: int) -> RunStage:
        inner = engine.make_run(waiting, max_batch=max_batch)
        calls = iter(range(10**6))

        def run_stage(stage: int, inputs: Tensors) -> tuple[FloatArray, Tensors]:
            if next(calls) == 2:
                raise EngineError("no memory")
            return inner(stage, inputs)

        return run_stage

    failing = BulkClassifier(bundle, make_run, ClassifyOptions(budget="50%"))
    report = run(replace(job, classifier=failing))
    errors = [row["error"] for row in rows_of(job) if row["error"] and "no memory" in row["error"]]
    assert report.tally.errors == len(BROKEN) + len(errors)
    assert 0 < len(errors) <= SHARD
