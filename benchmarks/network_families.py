"""Which families of timm and transformers can be given exits, and by which road.

    python -m benchmarks.network_families                     # those that docs/benchmarks/families.json lacks
    python -m benchmarks.network_families timm:vgg11 hf:vit   # these, again

One small network of each family, with random weights and where that goes less depth or smaller images: what
it does counts, and not how long. The roads: torch.fx and torch.export in evaluation mode, which
`--model-option evaluation=true` of `offramp fit` takes in this order, and the ONNX graph, which `offramp
adopt` takes. docs/models.md gets the table.
"""

import argparse
import copy
import json
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.reporting import replaced_table, table
from training.adopting.network.loading import Logits, exported
from training.adopting.network.network import network
from training.adopting.network.paths import cuts
from training.errors import AdoptError, ConfigError
from training.models.flops import FlopsCounter
from training.models.graphs.cutting import candidates, split_at_layers
from training.models.graphs.export_trace import trace_exported
from training.models.graphs.tracing import Trace, trace

ROWS, PAGE = Path("docs/benchmarks/families.json"), Path("docs/models.md")
MADE_BY = "python -m benchmarks.network_families"
CLASSES = 10

TIMM: dict[str, tuple[int, dict[str, Any]]] = {
    "beit_base_patch16_224": (224, {"depth": 2, "embed_dim": 96, "num_heads": 3}),
    "botnet26t_256": (256, {}),
    "repvgg_a0": (64, {}),
    "cait_xxs24_224": (224, {"depth": 2}),
    "coat_lite_tiny": (224, {}),
    "convit_tiny": (224, {"depth": 2}),
    "convmixer_768_32": (64, {"depth": 2}),
    "convnext_atto": (64, {}),
    "crossvit_9_240": (240, {}),
    "cs3darknet_focus_s": (64, {}),
    "davit_tiny": (224, {"depths": (1, 1, 1, 1)}),
    "deit3_small_patch16_224": (224, {"depth": 2, "embed_dim": 96, "num_heads": 3}),
    "densenet121": (64, {"block_config": (2, 2, 2, 2)}),
    "dla46_c": (64, {}),
    "edgenext_xx_small": (64, {}),
    "efficientformer_l1": (224, {}),
    "efficientnet_b0": (64, {}),
    "tf_efficientnetv2_b0": (64, {}),
    "efficientvit_b0": (64, {}),
    "efficientvit_m0": (224, {}),
    "eva02_tiny_patch14_224": (224, {"depth": 2}),
    "fasternet_t0": (64, {}),
    "fastvit_t8": (64, {}),
    "focalnet_tiny_srf": (224, {"depths": (1, 1, 1, 1)}),
    "gcvit_xxtiny": (224, {}),
    "ghostnet_050": (64, {}),
    "hgnetv2_b0": (64, {}),
    "hiera_tiny_224": (224, {"stages": (1, 1, 1, 1), "q_pool": 2}),
    "inception_next_atto": (64, {}),
    "levit_128s": (224, {}),
    "mambaout_femto": (64, {}),
    "maxvit_rmlp_pico_rw_256": (256, {}),
    "poolformerv2_s12": (64, {}),
    "mixer_s32_224": (224, {"num_blocks": 2}),
    "mobilenetv3_small_050": (64, {}),
    "mobilevit_xxs": (64, {}),
    "mvitv2_tiny": (224, {}),
    "pit_ti_224": (224, {}),
    "pvt_v2_b0": (64, {}),
    "regnetx_002": (64, {}),
    "repvit_m0_9": (64, {}),
    "resnet18": (64, {}),
    "resnetv2_18": (64, {}),
    "swin_tiny_patch4_window7_224": (224, {"depths": (1, 2, 1, 1), "embed_dim": 48}),
    "swinv2_tiny_window8_256": (256, {"depths": (1, 2, 1, 1), "embed_dim": 48}),
    "twins_svt_small": (224, {"depths": (1, 1, 1, 1)}),
    "vgg11": (64, {}),
    "vit_tiny_patch16_224": (224, {"depth": 2}),
}
"""The size of the images and what is changed, per network; a family of timm each."""

_TOKENS: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 64, "image_size": 64,
}  # fmt: skip
_STAGES: dict[str, Any] = {"hidden_sizes": [8, 16, 32, 64], "depths": [1, 1, 1, 1]}
TRANSFORMERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "vit": ("ViTConfig", "ViTForImageClassification", _TOKENS),
    "deit": ("DeiTConfig", "DeiTForImageClassification", _TOKENS),
    "beit": ("BeitConfig", "BeitForImageClassification", _TOKENS),
    "dinov2": ("Dinov2Config", "Dinov2ForImageClassification", _TOKENS),
    "swin": (
        "SwinConfig",
        "SwinForImageClassification",
        {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "image_size": 64},
    ),
    "resnet": ("ResNetConfig", "ResNetForImageClassification", {**_STAGES, "embedding_size": 8}),
    "convnext": ("ConvNextConfig", "ConvNextForImageClassification", {**_STAGES, "image_size": 64}),
    "mobilenet_v2": ("MobileNetV2Config", "MobileNetV2ForImageClassification", {"depth_multiplier": 0.35}),
    "regnet": (
        "RegNetConfig",
        "RegNetForImageClassification",
        {**_STAGES, "embedding_size": 8, "groups_width": 8},
    ),
    "efficientnet": ("EfficientNetConfig", "EfficientNetForImageClassification", {"depth_coefficient": 0.3}),
}
"""The configuration's class, the network's, and what makes it small; a family of transformers each."""

TRANSFORMERS_SIZE = 64


@dataclass(frozen=True)
class Row:
    """What became of one family.

    Args:
        network: its name.
        fx: layers that can be exits by torch.fx, or why there are none.
        export: the same by torch.export.
        onnx: places to cut of the ONNX graph, or why there are none.
        torch_flops: of one image, as the torch module is counted; or why not.
        onnx_flops: as the ONNX graph is; None where there is none.
    """

    network: str
    fx: int | str
    export: int | str
    onnx: int | str
    torch_flops: int | str
    onnx_flops: int | None

    @property
    def roads(self) -> list[str]:
        """Return the roads that it can take."""
        return [road for road in ("fx", "export", "onnx") if isinstance(getattr(self, road), int)]


def built(name: str) -> tuple[nn.Module, int]:
    """Make a network with random weights; return it and the size of its images."""
    # Only here: a page is written without these libraries, which take seconds to load.
    import timm
    import transformers

    torch.manual_seed(0)
    library, _, rest = name.partition(":")
    if library == "timm":
        size, changed = TIMM[rest]
        create = partial(timm.create_model, rest, pretrained=False, num_classes=CLASSES)
        try:
            net: nn.Module = create(**changed)
        except TypeError:  # timm sets these itself
            net = create()
    else:
        settings, kind, small = TRANSFORMERS[rest]
        config = getattr(transformers, settings)(num_labels=CLASSES, **small)
        net, size = Logits(getattr(transformers, kind)(config)), TRANSFORMERS_SIZE
    net = net.eval()
    for weights in net.parameters():  # biases of zero and scales of one would vanish from an exported graph
        if weights.ndim < 2:
            nn.init.normal_(weights, mean=1.0, std=0.1)
    return net, size


def examined(name: str) -> Row:
    """Try every road."""
    net, size = built(name)

    def traced(read: Callable[[nn.Module, int, str], Trace]) -> int | str:
        try:
            found = read(copy.deepcopy(net), size, name)
            layers = candidates(found)
            split_at_layers(found, [layers[len(layers) // 2]], CLASSES)
        except (ConfigError, IndexError) as error:
            return str(error)
        return len(layers)

    try:
        whole = network(exported(name.replace(":", "_"), copy.deepcopy(net), size))
        onnx: int | str = len(cuts(whole))
        onnx_flops: int | None = whole.flops
    except AdoptError as error:
        onnx, onnx_flops = str(error), None
    return Row(
        name,
        traced(lambda module, pixels, title: trace(module, pixels, title, evaluation=True)),
        traced(trace_exported),
        onnx,
        torch_flops(net, size),
        onnx_flops,
    )


def torch_flops(net: nn.Module, size: int) -> int | str:
    """Count what one image more adds."""
    unknown: Counter[str] = Counter()
    found = []
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        for images in (1, 2):
            with torch.no_grad(), FlopsCounter(unknown) as counter:
                net(torch.zeros(images, 3, size, size))
            found.append(counter.flops)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    if unknown:
        return f"no rule for {', '.join(sorted(unknown))}"
    return int(found[1] - found[0])


def page(rows: Sequence[Row]) -> str:
    """Return the table and its summary in Markdown."""
    lines = []
    for library, of in (("timm", len(TIMM)), ("hf", len(TRANSFORMERS))):
        own = [row for row in rows if row.network.startswith(f"{library}:")]
        ways = {road: sum(road in row.roads for row in own) for road in ("fx", "export", "onnx")}
        title = "timm" if library == "timm" else "transformers"
        lines.append(
            f"- {title}: {sum(bool(row.roads) for row in own)} of {len(own)} tried by one road or another; "
            f"torch.fx {ways['fx']}, torch.export {ways['export']}, ONNX {ways['onnx']}. "
            + (f"{of - len(own)} were not tried yet." if of > len(own) else "")
        )
    body = [
        [
            f"`{row.network}`",
            *(str(value) if isinstance(value, int) else "–" for value in (row.fx, row.export, row.onnx)),
            f"{row.torch_flops / 1e6:,.2f}" if isinstance(row.torch_flops, int) else "–",
            "–" if row.onnx_flops is None else f"{row.onnx_flops / 1e6:,.2f}",
        ]
        for row in rows
    ]
    refused = [
        f"- `{row.network}`, {road}: {reason if len(reason) < _LONGEST else reason[:_LONGEST] + ' …'}"
        for row in rows
        for road, reason in (("torch.export", row.export), ("ONNX", row.onnx))
        if isinstance(reason, str)
    ]
    head = ["network", "torch.fx", "torch.export", "ONNX", "MFLOPs in torch", "in ONNX"]
    return "\n".join(
        [
            *lines,
            "",
            *table(head, body),
            "",
            "Refused by torch.export or as ONNX:",
            "",
            *(refused or ["- none"]),
        ]
    )


_LONGEST = 240


def kept() -> dict[str, Row]:
    """Return the rows that are there, by name."""
    if not ROWS.exists():
        return {}
    return {row["network"]: Row(**row) for row in json.loads(ROWS.read_text())}


def main(argv: Sequence[str] | None = None) -> int:
    """Examine families and write the table."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    names = [*(f"timm:{name}" for name in TIMM), *(f"hf:{name}" for name in TRANSFORMERS)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", choices=[[], *names], metavar="NETWORK")
    wanted = parser.parse_args(argv).networks
    for name in wanted or [name for name in names if name not in kept()]:
        row = examined(name)
        found = {**kept(), name: row}  # read anew: several may be at work
        rows = [found[known] for known in names if known in found]
        ROWS.write_text(json.dumps([asdict(one) for one in rows], indent=1) + "\n")
        PAGE.write_text(replaced_table(PAGE.read_text(), MADE_BY, page(rows)))
        print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
