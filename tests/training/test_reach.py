import torch

from training.models.reach import reach
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
