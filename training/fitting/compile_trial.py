"""A trial of `torch.compile` on a run's network, in a process of its own, which can be ended.

    python -m training.fitting.compile_trial RUN IMAGES

The process takes steps on made-up images with weights drawn anew, plain and compiled, and prints what they
took as JSON. What it compiles stays in torch's cache on disk: a run that is compiled afterwards finds it.
"""

import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F

from training.errors import ConfigError
from training.fitting.compile_choice import Choice, StepTimes, TrialError, choose, work_of
from training.methods.interface import Phase
from training.models.flops import exit_flops, segment_flops
from training.models.multi_exit import MultiExitModel
from training.runs.devices import use_device
from training.runs.run import Run
from training.setup.compiling import check_compiler, compiled
from training.setup.preparing import prepared

_STEPS = 4
_SHOWN_CHARACTERS = 200

Forward = Callable[..., list[torch.Tensor]]
Clock = Callable[[], float]


def try_compiling(
    run: Run, model: MultiExitModel, phases: Sequence[Phase], steps: Sequence[int], images: int
) -> Choice:
    """Decide whether a run is compiled; neither its model nor torch's random numbers change.

    Args:
        run: in its folder.
        model: as it is trained, on its device.
        phases: the passes over the data within an epoch.
        steps: how many steps each of them has.
        images: of a batch of this process.
    """
    config = run.config
    with torch.random.fork_rng():
        seconds = step_seconds(copy.deepcopy(model), images, bf16=config.precision == "bf16")
    costs = exit_flops(segment_flops(model))
    work = work_of(phases, steps, config.epochs, costs, config.start_size, model.image_size)
    most_seconds = None if config.max_minutes is None else 60 * config.max_minutes

    def trial(most: float) -> StepTimes:
        try:
            check_compiler(model.mean.device.type)  # only now: it brings the compiler along, seconds of it
        except ConfigError as error:
            raise TrialError(str(error)) from error
        return run_trial(run.folder, images, most)

    return choose(work, seconds, most_seconds, trial)


def run_trial(folder: Path, images: int, most_seconds: float) -> StepTimes:
    """Measure in another process.

    Args:
        folder: of the run.
        images: of a batch.
        most_seconds: until that process is ended.

    Raises:
        TrialError: it took too long, or failed.
    """
    command = [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", __spec__.name]
    try:
        ended = subprocess.run(  # noqa: S603 - our own program
            [*command, str(folder), str(images)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=most_seconds,
            check=True,
            text=True,
        )
        return StepTimes(**json.loads(ended.stdout.splitlines()[-1]))
    except subprocess.TimeoutExpired as error:
        raise TrialError(f"compiling was not over after {most_seconds:.0f} s") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or f"status {error.returncode}").splitlines()[-1]
        raise TrialError(f"compiling failed: {last[:_SHOWN_CHARACTERS]}") from error
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise TrialError(f"the trial failed: {type(error).__name__}: {error}") from error


def step_seconds(
    model: MultiExitModel, images: int, *, bf16: bool, clock: Clock = time.perf_counter
) -> float:
    """Measure an uncompiled step of a model that nobody needs any more; its weights and statistics change.

    Args:
        model: on its device.
        images: of a batch.
        bf16: whether it computes in bfloat16.
        clock: seconds.
    """
    step = _step(model, model, images, bf16)
    _seconds(step, clock)  # warms up
    return min(_seconds(step, clock) for _ in range(2))


def measure(
    model: MultiExitModel,
    images: int,
    *,
    bf16: bool,
    compile_model: Callable[[MultiExitModel], Forward] = compiled,
    clock: Clock = time.perf_counter,
) -> StepTimes:
    """Measure steps in turn, plain and compiled; the first compiled one compiles.

    Args:
        model: on its device; its weights and statistics change.
        images: of a batch.
        bf16: whether it computes in bfloat16.
        compile_model: compiles it.
        clock: seconds.
    """
    plain, fast = (_step(model, forward, images, bf16) for forward in (model, compile_model(model)))
    _seconds(plain, clock)
    compiling = _seconds(fast, clock)
    rounds = [(_seconds(plain, clock), _seconds(fast, clock)) for _ in range(_STEPS)]
    slow, quick = (median(times) for times in zip(*rounds, strict=True))
    return StepTimes(slow, quick, max(0.0, compiling - quick))


def _step(model: MultiExitModel, forward: Forward, images: int, bf16: bool) -> Callable[[], None]:
    """Return a training step of all exits on a batch of noise."""
    device, side = model.mean.device, model.image_size
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (images, side, side, 3), dtype=torch.uint8, generator=noise).to(device)
    labels = torch.zeros(images, dtype=torch.int64, device=device)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-6, momentum=0.9)
    model.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = forward(pixels, range(model.exits))
        loss = torch.stack([F.cross_entropy(one.float(), labels) for one in logits]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step


def _seconds(step: Callable[[], None], clock: Clock) -> float:
    began = clock()
    step()
    return clock() - began


def main(argv: list[str]) -> int:
    """Measure a run's network, and print the times."""
    run, images = Run.open(Path(argv[0])), int(argv[1])
    config = run.config
    device = use_device(config.device, config.threads)
    facts = run.facts
    model = run.architecture.untrained().model(len(facts.classes), facts.mean, facts.std)
    found = measure(prepared(model, config, device), images, bf16=config.precision == "bf16")
    sys.stdout.write(json.dumps(asdict(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
