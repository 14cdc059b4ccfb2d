"""From a published MSDNet checkpoint to a run, which exports like any other."""

from functools import partial

import torch

from training.config import FitConfig
from training.converting.config import ConvertConfig
from training.converting.msdnet_names import public_name
from training.converting.published import read
from training.converting.renaming import fill
from training.data.normalising import Normalisation, Three, normalisation
from training.data.opening import open_data
from training.errors import ConfigError
from training.models.multi_exit import MultiExitModel
from training.runs.checkpoint import Checkpoint
from training.runs.environment import environment
from training.runs.run import Run, RunFacts
from training.runs.weights import write_weights

# Of github.com/kalviny/MSDNet-PyTorch, `dataloader.py`.
_CIFAR: dict[str, tuple[Three, Three]] = {
    "cifar10": ((0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}
_OF_CLASSES = {10: "cifar10", 100: "cifar100"}


def convert(config: ConvertConfig) -> Run:
    """Make a run of a published checkpoint.

    Its weights have seen every training image, so its validation images come from the test part. Public code
    that holds training images back numbers them in torchvision's order, which other copies do not have.

    Args:
        config: the checkpoint, its model, and its data set.

    Raises:
        ConfigError: no MSDNet is asked for, or its options or the data set do not fit.
        DataError: the data set cannot be found.
        RunError: the checkpoint cannot be read or is not of that model, or the run folder is there.
    """
    fit_config = FitConfig.model_validate(
        {
            **config.model_dump(exclude={"checkpoint", "out", "normalise"}),
            **{"method": "joint", "epochs": 1, "validation_from": "test"},
        }
    )
    settled = fit_config.architecture()
    stem = getattr(settled.options, "stem", None)
    if settled.name != "msdnet" or stem is None:
        raise ConfigError(
            f"--model {config.model}: expected an MSDNet, found the architecture {settled.name}"
        )
    published = read(config.checkpoint)
    data = open_data(fit_config, image_size=settled.image_size, batch_size=2, seed=0)
    wanted = normalisation_of(config.normalise, len(data.classes))
    model: MultiExitModel = settled.model(len(data.classes), wanted.mean, wanted.std)
    fill(model, published.tensors, partial(public_name, stem=stem))
    epochs = published.epochs or 1
    facts = RunFacts(
        tuple(data.classes),
        wanted.mean,
        wanted.std,
        data.spec,
        environment(torch.get_num_threads(), fit_config.workers, "cpu"),
        {"file": published.file, "sha256": published.sha256, "epochs": published.epochs},
    )
    run = Run.create(config.out, fit_config.model_copy(update={"epochs": epochs}), facts, data.split)
    Checkpoint(epochs, model.state_dict(), {}, [], 0.0).save(run.checkpoint_path)
    write_weights(run)
    return run


def normalisation_of(given: str | None, classes: int) -> Normalisation:
    """Return the normalisation that was asked for, or the one that public code has for so many classes.

    Raises:
        ConfigError: it cannot be read, or has the channels the other way round.
    """
    name = given or _OF_CLASSES.get(classes, "imagenet")
    if name in _CIFAR:
        return Normalisation(name, *_CIFAR[name])
    found = normalisation(name)
    if found.bgr:
        raise ConfigError(f"--normalise {name}: expected red first, as the public code has it")
    return found
