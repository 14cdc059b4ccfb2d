import json

import pytest

from training.describe import main


def test_json_holds_plain_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "msdnet", "--classes", "100", "--json"]) == 0

    exits = json.loads(capsys.readouterr().out)["exits"]

    assert [round(row["flops"] / 1e6, 2) for row in exits][::6] == [56.43, 340.64]
    assert [round(row["params"] / 1e6, 2) for row in exits][::6] == [0.90, 7.36]


def test_the_table_shows_every_exit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "msdnet-tiny", "--model-option", "blocks=4"]) == 0

    assert "│ 4 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--model", "resnet"], "unknown model 'resnet'"),
        (["--classes", "1"], "--classes: Input should be greater than or equal to 2; found '1'"),
        (["--model-option", "blocks=many"], "blocks: "),
    ],
)
def test_a_mistake_is_a_message(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2

    err = capsys.readouterr().err
    assert says in err
    assert "Traceback" not in err


def test_any_backbone(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--model", "torchvision:resnet50", "--exits", "layer1,layer2", "layer3", "--pretrained"]

    assert main([*flags, "--classes", "10", "--json"]) == 0, "and no weights are fetched for it"

    exits = json.loads(capsys.readouterr().out)["exits"]
    assert [round(row["flops"] / 1e6) for row in exits] == [793, 1824, 3290, 4100]
    assert [round(row["params"] / 1e6, 3) for row in exits] == [0.228, 1.453, 8.561, 23.546]
