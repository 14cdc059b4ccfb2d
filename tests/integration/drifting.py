"""Processes that divide tasks, one of which rounds differently."""

from pathlib import Path
from typing import Any

import torch

from tests.training.fitting.test_problem import FakeImages
from training.fitting.parallel import joined, tensors_in
from training.fitting.problem import Recipe, TrainingProblem
from training.methods import method
from training.methods.learned_fusion import LearnedFusion
from training.models.registry import architecture
from training.schedules import constant


def drift(out: Path) -> None:
    """Train an outer epoch and write what this process ends with."""
    with joined("tasks") as processes:
        torch.manual_seed(0)
        model = architecture("msdnet-tiny").model(4)
        recipe = Recipe(lr=0.05, momentum=0.9, weight_decay=0.0, schedule=constant, epochs=1)
        problem = TrainingProblem(model, FakeImages(), recipe, processes)
        how, learn = method("meta-gf", problem), LearnedFusion.learn

        def rounding(self: LearnedFusion, *arguments: Any) -> None:
            learn(self, *arguments)
            for tensor in tensors_in(self.state_dict()):
                tensor.add_(1e-3 * processes.number)

        LearnedFusion.learn = rounding  # type: ignore[method-assign,assignment]
        how.epoch()
        apart = [tensor.clone() for tensor in (*model.state_dict().values(), *tensors_in(how.state_dict()))]
        problem.agree(tensors_in(how.state_dict()))
        ended = [*model.state_dict().values(), *tensors_in(how.state_dict())]
        torch.save({"apart": apart, "ended": ended}, out / f"{processes.number}.pt")
