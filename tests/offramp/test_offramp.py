"""The public Python API, also where a folder of the user's has packages of the same names."""

import subprocess
import sys
from pathlib import Path
from typing import assert_type

import pytest

import offramp
from serving import client
from serving.answer import Answer
from serving.errors import BundleError, OfframpError
from serving.model import Model
from serving.options import ClassifyOptions
from tests.bundles import tiny_bundle, tiny_images


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """Return a folder whose own `serving` and `training` can be imported, and are not Offramp's."""
    for name in ("serving", "training"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("mine = True\n")
    return tmp_path


def python(script: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run a script with `cwd` first on `sys.path`, as an interactive session does."""
    return subprocess.run([sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True)


def test_the_public_names_are_these() -> None:
    assert offramp.__all__ == [
        *("Answer", "AsyncClient", "Budget", "ClassifyOptions", "Client", "ClientError", "Cores", "Model"),
        *("OfframpError", "ResponseError", "__version__"),
    ]
    assert dir(offramp) == sorted(offramp.__all__)
    assert (offramp.Answer, offramp.ClassifyOptions) == (Answer, ClassifyOptions)
    assert (offramp.Model, offramp.OfframpError) == (Model, OfframpError)
    assert (offramp.Client, offramp.AsyncClient) == (client.Client, client.AsyncClient)
    assert (offramp.ClientError, offramp.ResponseError) == (client.ClientError, client.ResponseError)
    assert offramp.Budget == str | float


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'offramp' has no attribute 'Modle'"):
        getattr(offramp, "Modle")  # noqa: B009 - a type checker refuses the other form, as it should


def test_names_have_their_types(tmp_path: Path) -> None:
    with offramp.Model.load(tiny_bundle(tmp_path / "tiny")) as model:
        answers = model.classify(tiny_images(2), offramp.ClassifyOptions(budget="50%"))

    assert_type(model, Model)
    assert_type(answers, list[Answer])
    assert [answer.model for answer in answers] == ["tiny", "tiny"]


def test_the_base_of_all_errors_catches_them(tmp_path: Path) -> None:
    with pytest.raises(offramp.OfframpError) as caught:
        offramp.Model.load(tmp_path / "nothing")
    assert isinstance(caught.value, BundleError)


def test_importing_it_imports_nothing_else(tmp_path: Path) -> None:
    watched = {"numpy", "onnxruntime", "pydantic", "serving", "torch", "training"}
    script = f"import sys, offramp; dir(offramp); print(sorted({watched} & set(sys.modules)))"
    assert python(script, tmp_path).stdout == "[]\n"


def test_a_session_among_packages_of_the_same_names_classifies_an_array(crowded: Path) -> None:
    tiny_bundle(crowded / "tiny")
    script = (
        "import numpy, offramp\n"
        "with offramp.Model.load('tiny') as model:\n"
        "    print(len(model.classify(numpy.zeros((2, 8, 8, 3), numpy.uint8), budget='100%')))\n"
        "import serving, training\n"
        "print(hasattr(serving, 'mine'), hasattr(training, 'mine'))\n"  # training is bound by commands alone
    )
    done = python(script, crowded)
    assert (done.stdout, done.stderr) == ("2\nFalse True\n", "")


def test_another_package_imported_before_is_named_beside_ours(crowded: Path) -> None:
    done = python("import serving, offramp\nofframp.Model", crowded)
    message = done.stderr.splitlines()[-1]
    assert message.startswith("ImportError: offramp needs its package 'serving' in ")
    assert str(Path(offramp.__file__).parents[1] / "serving") in message
    assert str(crowded / "serving") in message
    assert "rename the other" in message


def test_the_client_says_what_it_needs(tmp_path: Path) -> None:
    done = python("import sys, offramp\nsys.modules['httpx'] = None\nofframp.Client", tmp_path)
    expected = "ImportError: the client needs httpx: pip install 'offramp[client]'"
    assert done.stderr.splitlines()[-1] == expected
