"""Refuses parts of a recipe that make no sense with the model or each other, before anything is trained."""

import torch

from training.config import FitConfig
from training.errors import ConfigError
from training.models.multi_exit import MultiExitModel
from training.setup.batchnorm import batchnorm_biases
from training.setup.compiling import check_compiler
from training.setup.identity import pass_on
from training.setup.whitening import first_convolution


def check_recipe(config: FitConfig, model: MultiExitModel) -> None:
    """Refuse what cannot be done.

    Args:
        config: the run's settings.
        model: the run's, on the meta device.

    Raises:
        ConfigError: the first part that does not fit.
    """
    if config.nesterov and not config.momentum:
        raise ConfigError("--nesterov looks ahead along the momentum: expected --momentum above 0, found 0")
    if config.whiten:
        if config.pretrained:
            raise ConfigError(
                "--whiten would replace the first convolution of --pretrained weights: leave one out "
                "(--no-whiten beside --recipe)"
            )
        first_convolution(model)
    if config.identity_start:
        _check_identity(config, model)
    if config.bias_lr != 1 and not batchnorm_biases(model):
        raise ConfigError("--bias-lr is of BatchNorm's biases, and the model has none: leave it out")
    if config.start_size is not None:
        _check_start_size(config.start_size, model)
    if config.compile is True:
        check_compiler(config.device)


def _check_identity(config: FitConfig, model: MultiExitModel) -> None:
    starts = {
        "--pretrained": config.pretrained,
        "--init-from": config.init_from,
        "--transfer-from": config.transfer_from,
    }
    for start, given in starts.items():
        if given:
            raise ConfigError(
                f"--identity-start and {start} both say how convolutions start: leave one out "
                "(--no-identity-start beside --recipe)"
            )
    if not pass_on(model):
        raise ConfigError("--identity-start: expected convolutions of 3×3 or more, found none")


def _check_start_size(side: int, model: MultiExitModel) -> None:
    if side >= model.image_size:
        raise ConfigError(
            f"--start-size {side}: expected less than the image size of {model.image_size} pixels"
        )
    try:
        model.eval()(torch.zeros(1, side, side, 3, dtype=torch.uint8, device="meta"))
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"--start-size {side}: the model takes images of {model.image_size} pixels only "
            f"({str(error).splitlines()[0]}); leave it out, or take one whose heads pool globally: ladder"
        ) from error
