import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from training.analysis.cosines import (
    cosines,
    gram,
    mean_cosines,
    negative_share,
    shared_parameters,
    summed_by,
)


def test_shared_parameters_are_those_of_two_exits_or_more() -> None:
    reach = torch.tensor([[1, 1, 0, 1], [1, 0, 1, 1], [1, 0, 0, 0]], dtype=torch.bool)

    assert shared_parameters(reach) == [0, 3]


def test_a_gram_matrix_is_zero_where_an_exit_does_not_use_the_parameter() -> None:
    vectors = torch.tensor([[1.0, 2.0], [3.0, -1.0]])

    products = gram(vectors, torch.tensor([True, False, True]))

    assert products.tolist() == [[5, 0, 1], [0, 0, 0], [1, 0, 10]]
    found = cosines(products)
    assert found[0, 2] == pytest.approx(1 / 50**0.5)
    assert np.isnan(found[1]).all()


vectors_KS = arrays.arrays(np.float64, (3, 6), elements=st.floats(-10, 10, allow_subnormal=False))  # noqa: N816


@given(vectors_KS)
def test_cosines_of_parts_add_up_to_that_of_the_whole(vectors: np.ndarray) -> None:
    parts = np.stack([vectors[:, start : start + 2] @ vectors[:, start : start + 2].T for start in (0, 2, 4)])

    found = cosines(parts.sum(0))

    lengths = np.linalg.norm(vectors, axis=1)
    for first in range(3):
        for second in range(3):
            if lengths[first] > 1e-3 and lengths[second] > 1e-3:
                direct = vectors[first] @ vectors[second] / (lengths[first] * lengths[second])
                assert found[first, second] == pytest.approx(direct, abs=1e-9)


def test_means_are_over_the_samples_that_have_a_cosine() -> None:
    grams = np.array([[[1.0, 0.5], [0.5, 1.0]], [[1.0, -1.0], [-1.0, 1.0]], [[1.0, 0.0], [0.0, 0.0]]])

    assert mean_cosines(grams)[0, 1] == pytest.approx(-0.25)
    assert negative_share(grams)[0, 1] == pytest.approx(0.5)
    assert np.isnan(mean_cosines(grams[2:])[0, 1])
    assert np.isnan(negative_share(grams[2:])[0, 1])


def test_gram_matrices_are_summed_by_key() -> None:
    grams = np.arange(6.0).reshape(1, 6, 1, 1)

    assert summed_by(grams, [0, 0, 2, 2, 2, 1]).ravel().tolist() == [1, 5, 9]
