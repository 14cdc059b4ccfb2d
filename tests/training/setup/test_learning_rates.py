import pytest

from tests.training.setup.test_init_weights import model
from training.setup.learning_rates import rate_factors


def test_rates_fall_with_depth_and_new_heads_take_the_whole_rate() -> None:
    net = model()
    factors = rate_factors(net, backbone=0.1, decay=0.5)
    names = {name: factors[parameter] for name, parameter in net.named_parameters()}
    assert names["segments.0.body.first.0.weight"] == pytest.approx(0.025)
    assert names["segments.1.body.second.0.weight"] == pytest.approx(0.05)
    assert names["segments.2.body.third.0.weight"] == pytest.approx(0.1)
    assert names["segments.2.head.classify.weight"] == pytest.approx(0.1)
    assert names["segments.0.head.classify.weight"] == 1.0


def test_without_factors_there_is_one_rate() -> None:
    assert set(rate_factors(model(), 1.0, 1.0).values()) == {1.0}
