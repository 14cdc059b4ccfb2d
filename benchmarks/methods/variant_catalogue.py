"""The variants of Meta-GF that are compared, and the settings of training that they share."""

from dataclasses import dataclass
from typing import Any

SHARED: dict[str, Any] = {
    "model": "ladder",
    "model_option": {
        "fine_channels": "16",
        "coarse_channels": "32",
        "head_channels": "32",
        "image_size": "16",
    },
    "image_size": 16,
    "train_limit": 4096,
    "recipe": "fast",
    "weight_ema": "none",  # averages of steps are for methods whose steps lead to the weights that are kept
    "validation_share": 0.2,
    "threads": 1,
    "workers": 0,
    "device": "cpu",
}
PAIRS = "task_batches=11,fusion_share=0.1,exits_per_task=2,outer_lr=2,task_momentum=true"


@dataclass(frozen=True)
class Variant:
    """A way to train.

    Args:
        method: as `training.compare` has it.
        what: in words.
        against: the variant that it is compared with.
        joint_share: how much of the time, or epochs, joint training has before.
        at_equal_epochs: whether it is trained so too.
        times: how much of the budget it has.
    """

    method: str
    what: str
    against: str = "joint"
    joint_share: float = 0.0
    at_equal_epochs: bool = False
    times: float = 1.0


VARIANTS: dict[str, Variant] = {
    "joint": Variant("joint", "joint training", at_equal_epochs=True),
    "pairs": Variant(
        f"meta-gf:{PAIRS}",
        "pairs of exits as tasks, outer steps of 11 mini-batches, tasks keep their momentum, the scale of "
        "joint training, η learned on a tenth of the images",
        at_equal_epochs=True,
    ),
    "paper": Variant("meta-gf", "Meta-GF as in the paper", at_equal_epochs=True),
    "joint, then pairs": Variant(
        f"meta-gf:{PAIRS},lr=0.03", "pairs after three quarters of joint training", joint_share=0.75
    ),
    "joint, then joint": Variant(
        "joint:lr=0.03", "joint training, begun anew after three quarters", joint_share=0.75
    ),
    "single exits": Variant(
        "meta-gf:task_batches=11,fusion_share=0.1,outer_lr=4,task_momentum=true",
        "as pairs, with an exit a task",
    ),
    "outer momentum": Variant(
        "meta-gf:task_batches=11,fusion_share=0.1,exits_per_task=2,outer_momentum=0.5",
        "as pairs, with outer momentum 0.5 in place of scale and the tasks' momentum",
    ),
    "online": Variant("online-gf", "eq. 1 at every step, η from the next mini-batch"),
    "own path": Variant(
        f"meta-gf:{PAIRS},own_path=fusion", "as pairs, layers of one exit trained in the fusion too"
    ),
    "channels": Variant(f"meta-gf:{PAIRS},granularity=channel", "as pairs, an η per channel"),
    "short steps": Variant(
        f"meta-gf:{PAIRS.replace('=11', '=4')}",
        "as pairs, outer steps of 4 mini-batches",
        at_equal_epochs=True,
    ),
    "joint with the split": Variant("joint:feature_split=true", "joint training with DFS's feature split"),
    "pairs with the split": Variant(
        f"meta-gf:{PAIRS},feature_split=true",
        "pairs with DFS's feature split",
        against="joint with the split",
    ),
    "joint, half the rate": Variant("joint:lr=0.05", "joint training at lr 0.05"),
    "joint, twice the rate": Variant("joint:lr=0.2", "joint training at lr 0.2"),
    "joint, twice the time": Variant("joint", "joint training with twice the budget", times=2.0),
}
"""In the order in which they are trained, for each seed."""
