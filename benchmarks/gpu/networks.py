"""The measured networks, with random weights: MSDNet-7, and networks of torchvision with exits."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks.methods import poster_bundle
from benchmarks.photo.networks import NETWORKS as PHOTO_NETWORKS
from benchmarks.photo.networks import SIDE, SPEC, Exits
from benchmarks.photo.pictures import picture
from serving.bundle import Preprocessing
from training.models.multi_exit import MultiExitModel
from training.models.registry import architecture

CLASSES = 1000
POSTER = "msdnet7"
_VIT = Exits("vit_b_16", ("encoder.layers.encoder_layer_3", "encoder.layers.encoder_layer_7"))
WITH_EXITS = {
    name: what for name, what in {**PHOTO_NETWORKS, "vit_b_16": _VIT}.items() if isinstance(what, Exits)
}
NETWORKS = (POSTER, *WITH_EXITS)
_NORM_IMAGES = 16

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Network:
    """A network before it is cut.

    Args:
        name: in `NETWORKS`.
        model: in evaluation mode.
        spec: of its images.
        images: those that are sent, uint8 [N, H, W, 3].
    """

    name: str
    model: MultiExitModel
    spec: Preprocessing
    images: Images


def network(name: str, count: int) -> Network:
    """Build a network and its images.

    Args:
        name: in `NETWORKS`.
        count: of the images.
    """
    if name == POSTER:
        images = poster_bundle.pool(count)
        _, height, width, _ = images.shape
        return Network(name, poster_bundle.poster_model(), Preprocessing(height=height, width=width), images)
    images = pictures(SPEC, count)
    return Network(name, with_exits(WITH_EXITS[name], images[:_NORM_IMAGES]), SPEC, images)


def pictures(spec: Preprocessing, count: int) -> Images:
    """Draw the noise of `benchmarks.photo` at the size that a network takes, uint8 [count, H, W, 3]."""
    drawn = (picture(spec.width, spec.height, np.random.default_rng((1, number))) for number in range(count))
    return np.stack([np.asarray(image) for image in drawn])


def with_exits(what: Exits, images: Images, side: int = SIDE) -> MultiExitModel:
    """Build a network of torchvision whose answers differ from image to image, at every exit.

    Args:
        what: the network and its exits.
        images: that BatchNorm and the spread of the logits are estimated on, uint8 [N, side, side, 3].
        side: of the images in pixels.
    """
    torch.manual_seed(0)
    options = {"exits": ",".join(what.layers), "image_size": side}
    model: MultiExitModel = architecture(f"torchvision:{what.network}", options).model(CLASSES)
    heads = [model.segment(index).head for index in range(model.exits)]
    for linear in (module for head in heads for module in head.modules() if isinstance(module, nn.Linear)):
        if not linear.weight.any():
            linear.reset_parameters()  # torchvision's ViT begins with a classifier of zeros
    poster_bundle.spread_logits(model, heads, torch.from_numpy(images))
    return model
