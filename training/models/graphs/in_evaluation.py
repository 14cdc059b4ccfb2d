"""Parts of a network that stay in evaluation mode while the heads around them train."""

from collections.abc import Sequence

from torch import nn

from training.models.multi_exit import Features, Segment


class InEvaluation(nn.Module):
    """Runs a part in evaluation mode, whatever mode the model is put into.

    Args:
        part: what is kept so.
    """

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part.eval()

    def train(self, mode: bool = True) -> "InEvaluation":
        """Change no mode but this module's own."""
        self.training = mode
        return self

    def forward(self, features: Features) -> object:
        """Return what the part gives."""
        return self.part(features)


def keep_in_evaluation(segments: Sequence[Segment]) -> None:
    """Keep the network in evaluation mode: every body, and the last head, which is its own classifier."""
    for segment in segments:
        segment.body = InEvaluation(segment.body)
    segments[-1].head = InEvaluation(segments[-1].head)
