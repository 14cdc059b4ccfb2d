import argparse
from typing import Literal

import pytest
from pydantic import BaseModel, Field

from serving.errors import OfframpError
from training import cli


class Settings(BaseModel):
    batch_size: int = Field(4, ge=2, description="images, 100% of them")
    kind: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()
    option: dict[str, str] = {}
    on: bool = False


def test_every_field_is_a_flag() -> None:
    argv = ["--batch-size", "8", "--names", "x", "y", "--option", "a=1", "b=2=3", "--on"]

    settings = cli.read_fields(Settings, cli.parser_of("Test.", Settings).parse_args(argv))

    assert settings == Settings(batch_size=8, names=("x", "y"), option={"a": "1", "b": "2=3"}, on=True)


def test_what_was_not_given_is_not_set() -> None:
    parser = argparse.ArgumentParser()
    cli.add_fields(parser, Settings)

    assert cli.given_values(Settings, parser.parse_args(["--kind", "b"])) == {"kind": "b"}


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--batch-size", "1"], "--batch-size: Input should be greater than or equal to 2; found '1'"),
        (["--kind", "c"], "--kind: Input should be 'a' or 'b'; found 'c'"),
    ],
)
def test_a_bad_value_is_one_line(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    def command(given: argparse.Namespace) -> None:
        cli.read_fields(Settings, given)

    assert cli.main(cli.parser_of("Test.", Settings), command, argv) == 2
    assert capsys.readouterr().err == f"error: {says}\n"


def test_an_error_of_ours_is_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise OfframpError("expected this, found that: do so")

    assert cli.run(command) == 2
    assert capsys.readouterr().err == "error: expected this, found that: do so\n"


def test_help_shows_defaults_and_percent_signs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.parser_of("Test.", Settings).parse_args(["--help"])

    assert "images, 100% of them (default: 4)" in capsys.readouterr().out
