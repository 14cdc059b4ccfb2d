import pytest
import torch
from torch import nn

from training.models.multi_exit import MultiExitModel
from training.models.reach import reach, row_reach
from training.models.registry import architecture


def test_msdnet_7_shares_what_was_counted_before() -> None:
    model = architecture("msdnet").model(100)
    used, parameters = reach(model), list(model.parameters())
    sizes = torch.tensor([p.numel() for p in parameters])
    segment = torch.tensor([k for k in range(7) for _ in model.segment(k).parameters()])

    behind_their_exit = ~used[segment, torch.arange(len(parameters))]
    by_all = used.all(0)

    assert (int(behind_their_exit.sum()), int(sizes[behind_their_exit].sum())) == (66, 133_760)
    assert int(sizes[by_all].sum()) == 350_768
    assert int(sizes[used.sum(0) == 1].sum()) == 5_100_476


def test_looking_changes_nothing() -> None:
    model = architecture("msdnet-tiny").model(4)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    reach(model)

    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training


def zeroed(kind: str) -> MultiExitModel:
    torch.manual_seed(0)
    model = architecture("msdnet-tiny").model(4)
    if kind == "a head that begins at zero":
        nn.init.zeros_([p for p in model.segment(2).head.parameters() if p.dim() == 2][-1])
    elif kind == "units that are never active":
        for module in model.segment(2).modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.bias, -1e3)
    return model


@pytest.mark.parametrize("kind", ["as it is", "a head that begins at zero", "units that are never active"])
def test_the_structure_decides_and_not_the_values(kind: str) -> None:
    model, plain = zeroed(kind), zeroed("as it is")
    whole = reach(plain)
    model.feature_split = plain.feature_split = True

    split = row_reach(model)

    assert all(torch.equal(a, b) for a, b in zip(split, row_reach(plain), strict=True))
    assert torch.equal(torch.stack([rows.any() for rows in split]), whole.any(0))
    assert torch.equal(reach(model).any(0), whole.any(0))


def test_channels_of_a_detached_half_belong_to_their_exit() -> None:
    model = architecture("msdnet-tiny").model(4)
    assert {rows.shape for rows in row_reach(model)} == {(3, 1)}
    model.feature_split = True

    rows = [rows for rows in row_reach(model) if rows.shape[1] > 1]

    assert rows
    for used in rows:
        assert used.any(0).all()
        assert not used.all()


def test_frozen_parameters_are_no_parameters_of_the_problem() -> None:
    model = architecture("msdnet-tiny").model(4)
    model.feature_split = True
    everything = row_reach(model)
    frozen, *others = model.parameters()
    frozen.requires_grad_(False)

    assert len(row_reach(model)) == len(others)
    assert all(torch.equal(a, b) for a, b in zip(row_reach(model), everything[1:], strict=True))
    assert reach(model).shape == (3, len(others))
