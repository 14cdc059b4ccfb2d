"""Fixtures that every test folder may use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")
settings.register_profile("fuzz", max_examples=int(os.environ.get("FUZZ_EXAMPLES", "5000")), deadline=None)


@pytest.fixture(scope="session")
def cifar_root() -> Path:
    """The folder that OFFRAMP_TEST_DATA names; cifar10/ and cifar100/ in it hold the parquet shards."""
    named = os.environ.get("OFFRAMP_TEST_DATA")
    if not named:
        pytest.skip("OFFRAMP_TEST_DATA is not set: no real CIFAR images here")
    root = Path(named)
    if not (root / "cifar10").is_dir():
        pytest.fail(f"OFFRAMP_TEST_DATA={named} holds no cifar10/ folder of parquet shards")
    return root
