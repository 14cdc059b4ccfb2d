"""Data: a source of labelled images, one seeded split of it, and reproducible batches on the device."""

from training.data.batches import Data
from training.data.feeds import Batch
from training.data.opening import open_data, open_split

__all__ = ["Batch", "Data", "open_data", "open_split"]
