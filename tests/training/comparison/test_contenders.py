import pytest

from training.comparison.contenders import MethodEntry, read_contender, read_contenders
from training.errors import ConfigError


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("joint", MethodEntry("joint", "joint", {}, {})),
        (
            "meta-gf:granularity=channel,eta_lr=0.05",
            MethodEntry(
                "meta-gf:granularity=channel,eta_lr=0.05",
                "meta-gf",
                {"granularity": "channel", "eta_lr": "0.05"},
                {},
            ),
        ),
        ("joint:lr=0.05", MethodEntry("joint:lr=0.05", "joint", {}, {"lr": "0.05"})),
        (
            "meta-gf:init_from=runs/joint",
            MethodEntry("meta-gf:init_from=runs/joint", "meta-gf", {}, {"init_from": "runs/joint"}),
        ),
    ],
)
def test_a_label_names_a_method_its_options_and_settings(label: str, expected: MethodEntry) -> None:
    assert read_contender(label) == expected


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("adam", "unknown method 'adam'"),
        ("adam:lr=1", "unknown method 'adam'"),
        ("meta-gf:granularity", "unknown method 'meta-gf:granularity'"),
        ("meta-gf:granularity=pixel", "granularity: Input should be"),
        ("meta-gf:granularity=channel,ema", "expected key=value, found 'ema'"),
        ("joint:lr=", "expected key=value, found 'lr='"),
        ("joint:granularity=channel", "joint has no option 'granularity' (known: none)"),
        ("joint:model=msdnet", "model is the same for all methods"),
        ("joint:seed=3", "seed is the same for all methods"),
    ],
)
def test_a_label_that_cannot_be_read_says_why(label: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_contender(label)
    assert says in str(caught.value)


def test_contenders_have_folders_of_their_own() -> None:
    labels = ["joint", "meta-gf:granularity=channel", "meta-gf:init_from=runs/a"]

    names = [contender.folder_name for contender in read_contenders(labels)]

    assert names == ["joint", "meta-gf+granularity=channel", "meta-gf+init_from=runs_a"]
    with pytest.raises(ConfigError, match="would share a folder: name each once"):
        read_contenders([*labels, "meta-gf:init_from=runs_a"])
