"""Public ResNets for CIFAR-10 as ONNX files, and CIFAR-10's images in parts that calibrate and that judge.

The networks have seen all training images, so the test images are divided: those in even places fit
thresholds, those in odd places count.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import torch

from benchmarks.earlyon.network import trained
from serving.bundle import Preprocessing
from training.calibration.collect import Labels
from training.data.images import decode
from training.data.source import Part, load_source
from training.models.graphs.free_batch import free_batch


def command_line(description: str | None, *, weights: str, work: str) -> argparse.ArgumentParser:
    """Make the parser of a benchmark of these networks: weights, images, a folder to work in.

    Args:
        description: of the benchmark.
        weights: the help of `--weights`.
        work: the help of `--work`.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True, help=weights)
    parser.add_argument("--cifar10", required=True, help="folder of CIFAR-10's parquet shards")
    parser.add_argument("--work", type=Path, required=True, help=work)
    parser.add_argument("--images", type=int, default=50_000, help="training images")
    parser.add_argument("--test-images", type=int, default=10_000, help="test images, half of them to fit on")
    return parser


def exported(weights: Path, file: Path) -> Path:
    """Write the network of a file of weights (`resnet20-….th`) as ONNX, its batch free."""
    image = torch.zeros(2, 3, 32, 32)
    torch.onnx.export(
        trained(weights),
        (image,),
        file,
        dynamo=True,
        verbose=False,
        external_data=False,
        dynamic_shapes=(free_batch(),),
    )
    return file


def divided(cifar10: str, work: Path, train: int, test: int) -> dict[str, Path]:
    """Write the folders `train`, `fitted` and `judged`, each with parquet shards and `images.npz`.

    Args:
        cifar10: folder of CIFAR-10's parquet shards.
        work: where the folders go.
        train: training images.
        test: test images, half of them in `fitted`.
    """
    source = load_source(cifar10)
    counted = np.arange(min(test, len(source.parts["test"].labels)))
    rows = {"train": np.arange(train), "fitted": counted[::2], "judged": counted[1::2]}
    return {
        name: _kept(source.parts["train" if name == "train" else "test"], own, source.classes, work / name)
        for name, own in rows.items()
    }


def _kept(part: Part, rows: Labels, classes: Sequence[str], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    label = datasets.ClassLabel(names=list(classes))
    features = datasets.Features({"image": datasets.Image(), "label": label})
    labels = part.labels[rows]
    stored = {"image": part.images.select(rows)["image"], "label": labels.tolist()}
    datasets.Dataset.from_dict(stored, features=features).to_parquet(folder / "train-00000-of-00001.parquet")
    images = decode(part, rows, Preprocessing(height=32, width=32))
    np.savez(folder / "images.npz", images=images, labels=labels)
    return folder
