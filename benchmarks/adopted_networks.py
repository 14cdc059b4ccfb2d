"""Adopt networks at 224 pixels, serve them in int8, and hold full depth against the original network.

    python -m benchmarks.adopted_networks                                       # all, some minutes each
    python -m benchmarks.adopted_networks torchvision:resnet50 torchvision:swin_t

Weights are random but for the last layer, which is fitted to the pictures that are compared: as those of a
trained network, its answers have margins. The mechanics are tried out, and no accuracy is claimed. In int8
two questions are asked: are the answers those of the original file in float, and are they those of the
original network in int8 without exits, its ranges taken from the same pictures? Each network runs in a
process of its own; its row joins those of docs/benchmarks/adopted.json, and docs/models.md gets the table
anew.
"""

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from time import process_time

import httpx
import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from benchmarks.reporting import replaced_table, table
from serving.bundle import Preprocessing
from serving.engine.providers import CPU
from serving.engine.sessions import open_session
from training.adopting import adoption, assembling
from training.adopting.config import AdoptConfig
from training.adopting.drafting import Done
from training.adopting.network.paths import cuts
from training.adopting.reference import Reference
from training.calibration.collect import Labels
from training.data.images import decode
from training.data.unlabelled import load_images
from training.demo.server import running_server
from training.exporting.graph import IMAGES
from training.exporting.int8 import Images, quantize

NETWORKS = (
    *("torchvision:resnet50", "torchvision:mobilenet_v3_large", "torchvision:efficientnet_b0"),
    *("torchvision:vit_b_16", "torchvision:swin_t", "torchvision:convnext_tiny"),
)
ROWS, PAGE = Path("docs/benchmarks/adopted.json"), Path("docs/models.md")
MADE_BY = "python -m benchmarks.adopted_networks"

CLASSES = 4

_SIZE = 224
_COLOURS = (
    ((220, 40, 40), (60, 20, 20)),
    ((40, 210, 60), (200, 230, 200)),
    ((40, 60, 220), (20, 20, 40)),
    ((230, 220, 60), (120, 60, 160)),
)
_MARGIN, _RIDGE = 8.0, 0.3
_LEARNT, _COMPARED = 24, 24
_LEAST_SPREAD = 1e-3
_PATIENCE_SECONDS = 600.0


@dataclass(frozen=True)
class Row:
    """What adopting one network came to.

    Args:
        network: its name.
        mflops: of it.
        cuts: places where it can be cut.
        exits: MFLOPs of leaving at each exit of the bundle.
        images: how many were compared.
        apart: the largest difference of a probability of the last exit from the original file, in float.
        changed: answers of the last exit that differ, in float.
        equal: share of answers at full depth, in int8 over HTTP, that are the original's in float.
        alike: share of these that the original network gives in int8 without exits.
        byte_features: boundaries that the features cross as uint8.
        seconds: of processor time, from the module to the bundle in int8.
        gigabytes: the most memory that took.
    """

    network: str
    mflops: float
    cuts: int
    exits: tuple[float, ...]
    images: int
    apart: float
    changed: int
    equal: float
    alike: float
    byte_features: int
    seconds: float
    gigabytes: float


def pictures(folder: Path, count: int, seed: int) -> Path:
    """Write JPEG images of discs, stripes, checks and gradients in turn, each kind about its own two colours.

    A random network tells them apart by these, as a trained one tells its classes apart.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    down, across = np.mgrid[0:_SIZE, 0:_SIZE]
    for number in range(count):
        period, row, column = int(rng.integers(16, 48)), *rng.integers(60, 160, 2)
        kinds = (
            (down - row) ** 2 + (across - column) ** 2 < (2 * period) ** 2,
            down % period < period / 2,
            (down % period < period / 2) ^ (across % period < period / 2),
            (down + across) / (2 * _SIZE),
        )
        weight = kinds[number % CLASSES][..., None].astype(np.float64)
        front, back = (np.array(colour) + rng.integers(-30, 31, 3) for colour in _COLOURS[number % CLASSES])
        image = weight * front + (1 - weight) * back
        image += rng.normal(0, 8, image.shape)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03}.jpg", quality=92)
    return folder


def weights(network: str, images: Tensor, file: Path) -> Path:
    """Write random weights whose last layer tells the four kinds of images apart, by least squares.

    Weights that begin as one number (a layer's scale, a transformer's last layer) are drawn, too, and
    BatchNorm takes its statistics from the images: otherwise all images would get one answer.
    """
    torch.manual_seed(0)
    kind = network.partition(":")[2]
    net: nn.Module = torchvision.models.get_model(kind, weights=None, num_classes=CLASSES)
    read: list[Tensor] = []
    with torch.no_grad():
        for name, values in net.named_parameters():
            if name.endswith("bias") or values.std() < _LEAST_SPREAD:
                centre = 1.0 if float(values.mean()) == 1.0 else 0.0
                spread = 0.02 if name.endswith("bias") else 0.2
                values.copy_(centre + spread * torch.randn_like(values))
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the mean over all batches
        last = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
        last.register_forward_pre_hook(lambda _, given: read.append(given[0]))
        net.train()(images)
        net.eval()(images)
        features = read[-1].double()
        target = _MARGIN * nn.functional.one_hot(torch.arange(len(images)) % CLASSES, CLASSES).double()
        centred = features - features.mean(0)
        gram = centred @ centred.T
        ridge = gram + _RIDGE * gram.diagonal().mean() * torch.eye(len(images))
        solved = centred.T @ torch.linalg.solve(ridge, target - target.mean(0))
        last.weight.copy_(solved.T)
        last.bias.copy_(target.mean(0) - features.mean(0) @ solved)
    torch.save(net.state_dict(), file)
    return file


def adopted(network: str) -> Row:
    """Adopt a network, serve it in int8 and compare."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        learnt, compared = pictures(place / "learnt", _LEARNT, 0), pictures(place / "compared", _COMPARED, 1)
        few = torch.stack([torch.from_numpy(pixels(file)) for file in sorted(compared.glob("*.jpg"))])
        file = weights(network, few, place / "weights.pth")
        begun = process_time()
        config = AdoptConfig(
            dataset=str(learnt),
            calibrate_on=str(compared),
            truth="own",
            normalise=("imagenet",),
            image_size=_SIZE,
            exits="30%,60%",
            epochs=1,
            precision="int8",
            max_drop=100.0,  # how far random weights move is what is measured
            calibration_images=_LEARNT,
        )
        done = adoption.build(f"{network}@{file}", place / "models" / "adopted", config)
        seconds = process_time() - begun
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        manifest = done.written.bundle.manifest
        served = served_answers(compared, place / "models")
        spec = manifest.preprocessing
        return Row(
            network=network,
            mflops=round(done.member.network.flops / 1e6, 2),
            cuts=len(cuts(done.member.network)),
            exits=tuple(round(flops / 1e6, 2) for flops in manifest.exit_flops),
            images=done.last.images,
            apart=done.last.largest,
            changed=done.last.changed,
            equal=float((served == Reference(done.member, spec)(read(compared, spec)).argmax(-1)).mean()),
            alike=float((served == int8_answers(done, read(learnt, spec), read(compared, spec))).mean()),
            byte_features=sum(
                all(spec.dtype == "uint8" for spec in segment.outputs[1:])
                for segment in manifest.segments[:-1]
            ),
            seconds=round(seconds, 1),
            gigabytes=round(memory, 1),
        )


def pixels(file: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Read an image as a network takes it, roughly normalised: float32 [3, H, W]."""
    image = np.asarray(Image.open(file), np.float32).transpose(2, 0, 1)
    return np.asarray((image / 255 - 0.45) / 0.225, np.float32)


def read(folder: Path, spec: Preprocessing) -> Images:
    """Decode all images of a folder in the order of their names, as the server does."""
    part = load_images(str(folder)).parts["train"]
    return decode(part, np.arange(len(part.labels), dtype=np.int64), spec)


def int8_answers(done: Done, ranges: Images, compared: Images) -> Labels:
    """Return the answers of the original network in int8 without exits.

    Args:
        done: the network's bundle.
        ranges: images that the ranges of int8 are taken from.
        compared: images to answer.
    """
    assembled = assembling.adopted(done.member, [], done.written.bundle.manifest.preprocessing)
    whole, parts = quantize(assembled.whole, assembled.parts, [ranges], reduce_range=True)
    session = open_session(whole.SerializeToString(), 1, [CPU])
    answers = [session.run([parts[-1].outputs[0].name], {IMAGES: image[None]})[0] for image in compared]
    return np.asarray(np.concatenate(answers).argmax(-1), np.int64)


def served_answers(folder: Path, models: Path) -> Labels:
    """Return the last exit's answers over HTTP, in the order of the images' names."""
    served = []
    with (
        running_server(models, models.with_name("server.log"), start_seconds=_PATIENCE_SECONDS) as address,
        httpx.Client(base_url=address, timeout=_PATIENCE_SECONDS) as client,
    ):
        for file in sorted(folder.glob("*.jpg")):
            headers = {"content-type": "image/jpeg"}
            response = client.post("/classify?explain=1", content=file.read_bytes(), headers=headers)
            response.raise_for_status()
            served.append(response.json()["exits"][-1]["class_index"])
    return np.array(served, np.int64)


def page(rows: Sequence[Row]) -> str:
    """Return the table in Markdown."""
    head = [
        *("network", "MFLOPs", "cuts", "MFLOPs per exit", "last exit in float", "in int8: as in float"),
        *("as in int8 without exits", "uint8 features", "CPU s", "GB"),
    ]
    return "\n".join(
        table(
            head,
            [
                [
                    f"`{row.network}`",
                    f"{row.mflops:,.1f}",
                    str(row.cuts),
                    " ".join(f"{flops:,.0f}" for flops in row.exits),
                    f"{row.changed} of {row.images} answers differ, by {row.apart:.0e} at most",
                    *(f"{round(share * row.images)} of {row.images}" for share in (row.equal, row.alike)),
                    f"{row.byte_features} of {len(row.exits) - 1}",
                    f"{row.seconds:.0f}",
                    f"{row.gigabytes:.1f}",
                ]
                for row in rows
            ],
        )
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Adopt networks one after the other and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS, help="torchvision:NAME")
    networks = parser.parse_args(argv).networks
    found = {row["network"]: row for row in json.loads(ROWS.read_text())} if ROWS.exists() else {}
    for name in networks:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # memory and time of this network alone
            row = pool.submit(adopted, name).result()
        found[row.network] = asdict(row)
        ordered = sorted(found.values(), key=lambda one: NETWORKS.index(one["network"]))
        ROWS.write_text(json.dumps(ordered, indent=1) + "\n")
        text = page([Row(**one) for one in ordered])
        PAGE.write_text(replaced_table(PAGE.read_text(), MADE_BY, text))
        print(page([row]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
