from pathlib import Path

import pytest

from tests.training.adopting.graphs import saved
from tests.training.adopting.pictures import quarters
from training.adopting.network.network import read_network
from training.advising.alternatives import check_names, planned
from training.advising.config import AdviseConfig
from training.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["a", "b", "c", "a → b", "a → c", "b → c", "a → b → c", "c with exits"]),
        (
            {"cascades": "none", "adopt": "all"},
            ["a", "b", "c", "a with exits", "b with exits", "c with exits"],
        ),
        ({"cascades": "all", "adopt": "none"}, ["a", "b", "c", "a → b", "a → c", "b → c", "a → b → c"]),
    ],
)
def test_what_is_compared_follows_from_the_networks(
    options: dict[str, str], names: list[str], tmp_path: Path
) -> None:
    networks = [
        read_network(saved(quarters(work=work), tmp_path, name))
        for work, name in ((1, "a"), (2, "b"), (4, "c"))
    ]
    config = AdviseConfig.model_validate({"dataset": "x", **options})
    assert [plan.title for plan in planned(networks, config)] == names


def test_networks_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="of different names; found net more than once"):
        check_names(["net", "other", "net"])
