"""The loss of an exit: cross-entropy, and on request label smoothing and distillation from the last exit.

Sources: label smoothing: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR
2016, section 7. Distillation from the last exit: Phuong and Lampert, "Distillation-Based Training for
Multi-Exit Architectures", ICCV 2019, with the factor T² of Hinton, Vinyals, Dean, "Distilling the Knowledge
in a Neural Network", 2015: with z_n, the last exit's logits, taken as constants, the loss of exit i < n is
    CE_i + weight · T² · KL(softmax(z_n / T) ‖ softmax(z_i / T)).
Distillation from the original is the same with the logits that the last exit had when the run began, and for
the last exit as well: it keeps close to what it was (Li and Hoiem, "Learning without Forgetting", ECCV 2016).

Deviations: weight and temperature are constant, where Phuong and Lampert raise the temperature as the last
exit grows sure of itself; and cross-entropy keeps its whole weight.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.methods.interface import Batch
from training.models.multi_exit import MultiExitModel


@dataclass(frozen=True)
class LossRecipe:
    """Options of an exit's loss.

    Args:
        label_smoothing: share of each target that is spread evenly over all classes.
        distil: what the distance to the last exit's prediction counts; 0 for no distillation.
        temperature: by which both predictions' logits are divided.
        frozen_teacher: learn from the net as it was when the epoch began. Otherwise that is so only where the
            last exit is not run; where it is, its prediction in the same forward pass teaches.
        untaught_epochs: number of a run's first epochs without distillation from a frozen teacher.
    """

    label_smoothing: float = 0.0
    distil: float = 0.0
    temperature: float = 1.0
    frozen_teacher: bool = False
    untaught_epochs: int = 0


CROSS_ENTROPY = LossRecipe()


class ExitLosses:
    """Turns exits' logits into their losses.

    Args:
        model: whose exits they are.
        recipe: what a loss is made of.
        original: teaches every exit, in place of the last one of the model.
    """

    def __init__(
        self, model: MultiExitModel, recipe: LossRecipe, original: MultiExitModel | None = None
    ) -> None:
        self._model, self._recipe = model, recipe
        self._frozen, self._original = FrozenNet(model), original

    def begin(self, epoch: int) -> None:
        """Hear that an epoch (from 0) begins with the net as it is now."""
        if self._original is not None:
            return
        if self._recipe.distil and self._recipe.frozen_teacher and epoch >= self._recipe.untaught_epochs:
            self._frozen.take(epoch)

    def __call__(
        self, batch: Batch, exits: Sequence[int], logits: Sequence[Tensor], epoch: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return each exit's plain cross-entropy, and the loss to train it by; means over the batch.

        Args:
            batch: what the logits are of.
            exits: 0-based, ascending.
            logits: of these exits, [N, classes] each.
            epoch: of the run, from 0.
        """
        recipe, labels = self._recipe, batch.labels
        plain = [F.cross_entropy(own, labels) for own in logits]
        losses = plain
        if recipe.label_smoothing:
            losses = [F.cross_entropy(own, labels, label_smoothing=recipe.label_smoothing) for own in logits]
        teacher = self._teacher(batch, exits, logits, epoch)
        if teacher is None:
            return plain, losses
        last = self._model.exits - 1
        return plain, [
            loss
            if exit_index == last and self._original is None
            else loss + recipe.distil * distillation_loss(own, teacher, recipe.temperature)
            for exit_index, loss, own in zip(exits, losses, logits, strict=True)
        ]

    def _teacher(
        self, batch: Batch, exits: Sequence[int], logits: Sequence[Tensor], epoch: int
    ) -> Tensor | None:
        """Return the last exit's logits [N, classes] if there are earlier exits to teach."""
        last = self._model.exits - 1
        if self._original is not None:
            with torch.no_grad():
                return self._original(batch.images, (last,))[0]  # type: ignore[no-any-return]
        if not self._recipe.distil or all(exit_index == last for exit_index in exits):
            return None
        if exits[-1] == last and not self._recipe.frozen_teacher:
            return logits[-1].detach()
        return self._frozen.logits(batch.images, epoch) if epoch >= self._recipe.untaught_epochs else None


class FrozenNet:
    """A copy of a net as it was when the epoch began, or else when it was first asked in it.

    It predicts as it would be served: in evaluation mode, by its running statistics.

    Args:
        model: the net in training.
    """

    def __init__(self, model: MultiExitModel) -> None:
        self._model = model
        self._copy: MultiExitModel | None = None
        self._epoch = -1

    def take(self, epoch: int) -> MultiExitModel:
        """Copy the net as it is now, for `epoch`."""
        if self._copy is None:
            self._copy = copy.deepcopy(self._model).requires_grad_(False).eval()
        else:
            self._copy.load_state_dict(self._model.state_dict())
        self._epoch = epoch
        return self._copy

    def logits(self, images: Tensor, epoch: int) -> Tensor:
        """Return the last exit's logits [N, classes] of uint8 images [N, H, W, 3]."""
        teacher = self._copy if self._copy and epoch == self._epoch else self.take(epoch)
        with torch.no_grad():
            return teacher(images, (self._model.exits - 1,))[0]  # type: ignore[no-any-return]


def distillation_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T² · KL(teacher ‖ student) of predictions softened by T, in nats, mean over the batch.

    T² keeps the gradient's size when T changes (Hinton et al.).

    Args:
        logits: of the student [N, classes].
        teacher: of the teacher, likewise.
        temperature: T.

    >>> logits = torch.tensor([[0.0, 2.0]])
    >>> distillation_loss(logits, logits, temperature=3.0).item()
    0.0
    """
    softened = F.log_softmax(logits.float() / temperature, dim=-1)
    target = F.log_softmax(teacher.float() / temperature, dim=-1)
    return temperature**2 * F.kl_div(softened, target, log_target=True, reduction="batchmean")
