"""The settings that choose a model: each field is a flag of the training commands."""

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from training.models.fields import Names
from training.models.presets import PRESETS

if TYPE_CHECKING:
    from training.models.registry import Architecture


class ModelConfig(BaseModel):
    """Which model, with which options."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="model")

    model: str = Field(
        "msdnet-small",
        description=f"{', '.join(sorted(PRESETS))}, torchvision:NAME or package.module:factory",
    )
    model_option: dict[str, str] = Field({}, description="key=value over the preset's own options")
    exits: Names = Field(
        (), description="layers that early exits follow, such as layer1,layer2,layer3 of torchvision:resnet50"
    )
    pretrained: bool = Field(False, description="start a torchvision model from its ImageNet weights")

    def architecture(self, image_size: int | None = None) -> "Architecture":
        """Settle the model's options.

        Args:
            image_size: height and width in pixels where the options name none; None takes the preset's.

        Raises:
            ConfigError: an unknown model or option, or values that do not fit together.
        """
        from training.models.registry import architecture  # only now: it needs torch

        given: dict[str, object] = {} if image_size is None else {"image_size": image_size}
        given |= self.model_option
        if self.exits:
            given["exits"] = self.exits
        if self.pretrained:
            given["pretrained"] = True
        return architecture(self.model, given)
