"""The architectures: multi-exit nets by name, and classifiers that become ones by being cut."""

from training.models.registry import MODELS, TORCHVISION, Architecture, Builder, Preset, architecture

__all__ = ["MODELS", "TORCHVISION", "Architecture", "Builder", "Preset", "architecture"]
