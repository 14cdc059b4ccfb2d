import pytest

from training.schedules import SCHEDULES


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("constant", [1, 1, 1, 1, 1]),
        ("step", [1, 1, 0.1, 0.01, 0.01]),
        ("triangular", [0.2, 0.9740260, 0.6493506, 0.3246753, 0]),
        ("cosine", [1, 0.8535534, 0.5, 0.1464466, 0]),
    ],
)
def test_factors_at_quarters_of_the_run(name: str, factors: list[float]) -> None:
    assert [SCHEDULES[name](p) for p in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx(factors, abs=1e-7)
