"""The cost of each exit of a model, and the parameters up to it."""

from itertools import accumulate

from training.models.flops import exit_flops, path_multiply_adds, segment_flops
from training.models.multi_exit import MultiExitModel


def describe(model: MultiExitModel) -> dict[str, list[dict[str, int]]]:
    """Return what each exit costs one image, and its parameters.

    Per exit: `flops`, earlier heads included; `params`, of all segments so far; `body_flops` and `head_flops`
    of its own segment; `multiply_adds`, the convolutions and matrix products among `flops`; and
    `path_multiply_adds`, those that its own logits depend on.
    """
    counts = segment_flops(model)
    multiply_adds = accumulate(count.multiply_adds for count in counts)
    # A module's parameters are each counted once, even where segments share them.
    parameters = (sum(p.numel() for p in model.segments[: k + 1].parameters()) for k in range(model.exits))
    return {
        "exits": [
            {
                "flops": flops,
                "params": params,
                "body_flops": count.body,
                "head_flops": count.head,
                "multiply_adds": products,
                "path_multiply_adds": path,
            }
            for flops, params, count, products, path in zip(
                exit_flops(counts), parameters, counts, multiply_adds, path_multiply_adds(model), strict=True
            )
        ]
    }
