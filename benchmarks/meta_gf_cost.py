"""What an outer epoch of Meta-GF costs, in epochs of joint training, beside the way of the public code.

    python benchmarks/meta_gf_cost.py --steps 6 --rounds 5 --out docs/benchmarks/meta_gf_cost.json

Everything runs in this one process in turn, round after round, on the same random images, so that the ratios
hold where the machine's speed drifts. A pass over the data is `--steps` batches. The BatchNorm pass cannot be
shorter than one batch, so with few steps it is a larger share than in a real epoch: the ratio is on the
safe side.

The public way (github.com/SYVAE/MetaGF, as described in docs/methods.md) is written anew here, by its
costs: every task runs the whole net for its own loss plus 0.1 of the others'; the fusion step copies the
model, fuses inside the autograd graph with one η per tensor and exit, and backpropagates to η; a pass over
the training images evaluates the result.
"""

import argparse
import copy
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from training.methods import method
from training.models import architecture
from training.models.multi_exit import MultiExitModel
from training.problem import Recipe, TrainingProblem
from training.schedules import constant


@dataclass(frozen=True)
class RandomBatch:
    """A batch of noise with labels."""

    images: Tensor
    labels: Tensor


class RandomImages:
    """The same few batches in every pass."""

    def __init__(self, steps: int, batch_size: int, image_size: int, classes: int) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (batch_size, image_size, image_size, 3)
        self._batches = [
            RandomBatch(
                torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator),
                torch.randint(0, classes, (batch_size,), generator=generator),
            )
            for _ in range(steps)
        ]

    def train(self, epoch: int, phase: str, share: float = 1.0) -> Iterator[RandomBatch]:
        """Yield the first `share` of the batches."""
        yield from self._batches[: self.steps(share)]

    def steps(self, share: float = 1.0) -> int:
        """Return how many batches that is; never none."""
        return max(1, round(share * len(self._batches)))


class PublicWay:
    """An outer epoch as the authors' public code spends it, in float32."""

    def __init__(self, model: MultiExitModel, images: RandomImages) -> None:
        self._model, self._images = model, images
        self._eta = [torch.ones(model.exits, requires_grad=True) for _ in model.parameters()]

    def epoch(self) -> None:
        """Run the tasks, the fusion and the evaluation."""
        start = copy.deepcopy(self._model)
        tasks = [self._task(copy.deepcopy(start), exit_index) for exit_index in range(start.exits)]
        self._fuse(start, tasks)
        with torch.no_grad():
            for batch in self._images.train(0, "evaluation"):
                start(batch.images)

    def _task(self, model: MultiExitModel, exit_index: int) -> list[Tensor]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        model.train()
        for batch in self._images.train(0, "task"):
            losses = [F.cross_entropy(logits, batch.labels) for logits in model(batch.images)]
            others = sum(losses[:exit_index] + losses[exit_index + 1 :], torch.zeros(()))
            optimizer.zero_grad()
            (losses[exit_index] + 0.1 * others).backward()
            optimizer.step()
        return [parameter.detach() for parameter in model.parameters()]

    def _fuse(self, start: MultiExitModel, tasks: list[list[Tensor]]) -> None:
        adam = torch.optim.Adam(self._eta, lr=0.1)
        for batch in self._images.train(0, "fusion"):
            model = copy.deepcopy(start)
            fused = {}
            for index, (name, origin) in enumerate(start.named_parameters()):
                gates = torch.sigmoid(self._eta[index])
                moves = torch.stack([task[index] - origin.detach() for task in tasks])
                fused[name] = origin.detach() + torch.tensordot(gates / gates.sum(), moves, dims=1)
            logits = functional_call(model, fused, (batch.images,))
            loss = torch.stack([F.cross_entropy(exit_logits, batch.labels) for exit_logits in logits]).sum()
            adam.zero_grad()
            loss.backward()
            adam.step()


def contenders(preset: str, steps: int, batch_size: int) -> dict[str, Callable[[], None]]:
    """Return what is timed: each call is one (outer) epoch from a model of its own."""
    built = architecture(preset)
    images = RandomImages(steps, batch_size, built.image_size, 100)

    def ours(name: str, bf16: bool) -> Callable[[], None]:
        torch.manual_seed(0)
        model = built.model(100).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        recipe = Recipe(0.01, 0.9, 1e-4, constant, epochs=10**6, bf16=bf16)
        return method(name, TrainingProblem(model, images, recipe)).epoch

    return {
        "joint float32": ours("joint", False),
        "joint bf16": ours("joint", True),
        "meta-gf float32": ours("meta-gf", False),
        "meta-gf bf16": ours("meta-gf", True),
        "public way float32": PublicWay(built.model(100), images).epoch,
    }


RATIOS = {
    "meta-gf / joint, float32": ("meta-gf float32", "joint float32", "at most 4.9"),
    "meta-gf / joint, bf16": ("meta-gf bf16", "joint bf16", "at most 4.9"),
    "public way / joint, float32": ("public way float32", "joint float32", "9.5 was measured"),
    "public way float32 / meta-gf bf16": ("public way float32", "meta-gf bf16", "at least 2.7"),
    "public way / meta-gf, float32": ("public way float32", "meta-gf float32", ""),
}


def peak_bytes(preset: str, name: str, batch_size: int) -> int:
    """Return the peak resident memory of a process that runs one epoch of two steps."""
    code = (
        "import sys; from benchmarks.meta_gf_cost import contenders, own_peak_bytes\n"
        f"contenders({preset!r}, 2, {batch_size})[{name!r}](); print(own_peak_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(done.stdout)


def own_peak_bytes() -> int:
    """Return this process's peak resident memory."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Time all contenders in turn and write the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="msdnet")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/meta_gf_cost.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    timed = contenders(options.model, options.steps, options.batch_size)
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for round_number in range(options.rounds + 1):  # the first is a warm-up
        for name, epoch in timed.items():
            begun = time.perf_counter()
            epoch()
            if round_number:
                seconds[name].append(time.perf_counter() - begun)
            print(f"round {round_number} {name}: {time.perf_counter() - begun:.2f} s", flush=True)
    ratios = {}
    print(f"\n{'ratio':<36} {'min':>6} {'median':>7} {'max':>6}  target")
    for name, (above, below, target) in RATIOS.items():
        found = [a / b for a, b in zip(seconds[above], seconds[below], strict=True)]
        ratios[name] = {"min": min(found), "median": median(found), "max": max(found), "target": target}
        print(f"{name:<36} {min(found):6.2f} {median(found):7.2f} {max(found):6.2f}  {target}")
    weights = 4 * sum(p.numel() for p in architecture(options.model).model(100).parameters())
    memory = {
        name: peak_bytes(options.model, name, options.batch_size)
        for name in ("joint float32", "meta-gf float32", "public way float32")
    }
    copies = (memory["meta-gf float32"] - memory["joint float32"]) / weights
    print(f"peak memory of meta-gf over joint: {copies:.1f} copies of the weights (target: at most 9)")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "settings": {key: str(value) for key, value in vars(options).items()},
        "seconds": seconds,
        "ratios": ratios,
        "peak_bytes": memory,
        "copies_of_weights_over_joint": copies,
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
