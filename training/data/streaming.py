"""The feed of large images: loader processes read, crop and resize them while the model computes.

Training images are random resized crops of the originals (torchvision's: 8 to 100% of the area, sides from
3:4 to 4:3), mirrored or not; plain images go through the preprocessing that is served.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from serving.images.decode import to_array, upright_rgb
from serving.images.preprocessing import Preprocessing
from serving.images.still import Still
from training.data.augment import alternating_mirrors
from training.data.feeds import Batch, Draw
from training.data.images import Ints, Pixels, Statistics, channel_statistics, decode, read_image
from training.data.seeds import generator
from training.data.source import Part
from training.errors import DataError

STATISTICS_IMAGES = 2000
"""Images that the channel statistics are taken from."""


class StreamedFeed:
    """Large images: read, cropped and resized by loader processes while the model computes.

    Args:
        part: where the images are.
        rows: int64 [N], the subset's rows of the part.
        spec: the plain images' preprocessing; augmented images come in the same size.
        device: where batches are wanted.
        workers: loader processes; 0 loads in this one. Batches do not depend on it.
    """

    def __init__(
        self, part: Part, rows: Ints, spec: Preprocessing, device: torch.device, workers: int
    ) -> None:
        self._part, self._rows, self._spec = part, rows, spec
        self._device, self._workers = device, workers

    def batches(self, groups: Sequence[Ints], draw: Draw | None) -> Iterator[Batch]:
        """Yield a batch per group of sample numbers; augmented as `draw` says, or plain without it.

        Raises:
            DataError: an image cannot be read.
        """
        loader = DataLoader(
            _Images(self._part, self._rows, self._spec, draw),
            batch_sampler=[group.tolist() for group in groups],
            num_workers=self._workers,
            collate_fn=_collate,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),  # The loader draws from it; torch's global one must not move.
        )
        for images, labels, problem in loader:
            if problem:
                raise DataError(problem)
            yield Batch(
                images.to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)
            )

    def statistics(self, seed: int) -> Statistics:
        """Return channel mean and standard deviation of a seeded sample of `STATISTICS_IMAGES` images."""
        sample = np.sort(generator(seed, "statistics").permutation(self._rows)[:STATISTICS_IMAGES])
        return channel_statistics([decode(self._part, sample, self._spec)])


class _Images(Dataset[tuple[Pixels, int] | DataError]):
    """Single images, for the loader's processes."""

    def __init__(self, part: Part, rows: Ints, spec: Preprocessing, draw: Draw | None) -> None:
        self._part, self._rows, self._spec = part, rows, spec
        self._flip, self._seeds, self._mirrored = False, None, None
        if draw is not None and draw.augment != "none":
            self._flip = draw.mirrors
            if draw.mirrors and draw.alternate_flip:
                self._mirrored = alternating_mirrors(len(rows), draw.seed, draw.epoch, draw.phase).numpy()
            rng = generator(draw.seed, "augment", draw.epoch, draw.phase)
            self._seeds = rng.integers(0, 1 << 62, size=len(rows))

    def __getitem__(self, sample: int) -> tuple[Pixels, int] | DataError:
        row = int(self._rows[sample])
        convert = self._plain
        if self._seeds is not None:
            seed = int(self._seeds[sample])
            mirrored = 0.5 if self._mirrored is None else float(self._mirrored[sample])

            def convert(still: Still) -> Pixels:
                return self._augmented(still, seed, mirrored)

        try:
            return read_image(self._part, row, convert), int(self._part.labels[row])
        except (
            DataError
        ) as error:  # Carried home as text: an error raised in a worker arrives as a traceback.
            return error

    def _plain(self, still: Still) -> Pixels:
        return to_array(still, self._spec)

    def _augmented(self, still: Still, seed: int, mirrored: float) -> Pixels:
        # Only here: torchvision brings torch's compiler along, seconds that no other command should wait for.
        from torchvision.transforms import v2

        steps: list[v2.Transform] = [v2.RandomResizedCrop((self._spec.height, self._spec.width))]
        if self._flip:
            steps.append(v2.RandomHorizontalFlip(mirrored))
        # torchvision draws from torch's global generator: lent to this image, and given back.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return np.array(v2.Compose(steps)(upright_rgb(still)))


def _collate(samples: Sequence[tuple[Pixels, int] | DataError]) -> tuple[Tensor, Tensor, str]:
    """Return images uint8 [n, H, W, 3], labels int64 [n], and what went wrong, or an empty text."""
    good = [sample for sample in samples if not isinstance(sample, DataError)]
    if len(good) < len(samples):
        problem = next(str(sample) for sample in samples if isinstance(sample, DataError))
        return torch.empty(0), torch.empty(0), problem
    images = torch.from_numpy(np.stack([image for image, _ in good]))
    return images, torch.tensor([label for _, label in good], dtype=torch.int64), ""
