"""A stored model answers as the one it was made of; its graph can name no code but torch's operators."""

import io
from typing import Any

import pytest
import torch

from training.errors import ConfigError
from training.models.graphs.stored_graph import restored, stored
from training.models.multi_exit import MultiExitModel
from training.models.registry import architecture

NETS = "tests.training.models.nets:"


def through_a_file(model: MultiExitModel) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(stored(model), file)
    file.seek(0)
    data: dict[str, Any] = torch.load(file, weights_only=True)
    return data


@pytest.mark.parametrize(
    ("model", "exits"),
    [
        (f"{NETS}Branching", "left,pair.0,stem"),
        (f"{NETS}swin", "features.1"),
    ],
)
def test_it_answers_as_before_with_the_weights_of_a_checkpoint(model: str, exits: str) -> None:
    torch.manual_seed(0)
    own = architecture(model, {"exits": exits, "image_size": 32}).model(5).train()
    images = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    own(images)  # the running statistics move
    again = restored(through_a_file(own))
    again.load_state_dict(own.state_dict())
    assert own.training
    with torch.no_grad():
        for expected, found in zip(own.eval()(images), again(images), strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["os.system", "aten.nothing.default", "aten.__class__.mro", "eval"])
def test_what_is_no_operator_is_refused(name: str) -> None:
    data = {
        "image_size": 8,
        "segments": [
            {
                "body": {"nodes": [["x", "call_function", name, [], {}]], "weights": {}, "constants": {}},
                "head": {},
                "read": 0,
            }
        ],
    }
    with pytest.raises(ConfigError, match="expected an operator of torch's own"):
        restored(data)
