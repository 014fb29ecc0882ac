"""The figures of a map, and what they say in words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explained import asked, member, same_state, state_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from foveal.explanation.cam import grad_cam
from foveal.explanation.faithfulness import Faithfulness, gini, rank_correlation, shuffled
from foveal.explanation.methods import BY_NAME
from foveal.explanation.target import Target


def test_gini_of_known_vectors():
    assert gini(np.ones(10)) == pytest.approx(0, abs=1e-12)
    assert gini(np.array([0, 0, 0, 5.0])) == pytest.approx(0.75)
    assert gini(np.zeros(7)) == 0
    assert gini(np.array([1.0, 3.0])) == pytest.approx(0.25)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 100))
def test_gini_and_ranks_do_not_depend_on_scale(seed, scale):
    chance = np.random.default_rng(seed)
    map_, other = chance.normal(size=(2, 9, 8))
    assert gini(scale * map_) == pytest.approx(gini(map_))
    assert 0 <= gini(map_) < 1
    own = rank_correlation(map_, other)
    assert own == pytest.approx(spearmanr(map_.ravel(), other.ravel()).statistic)
    assert rank_correlation(np.exp(scale * map_ / 100), other) == pytest.approx(own)
    assert rank_correlation(map_, map_) == pytest.approx(1)
    assert rank_correlation(map_, -map_) == pytest.approx(-1)


def test_a_map_without_places_correlates_with_nothing():
    assert rank_correlation(np.zeros((4, 4)), np.random.default_rng(0).normal(size=(4, 4))) == 0


def test_shuffled_weights_keep_their_scale_and_the_network_is_untouched():
    network, x = member("cifar_resnet20")
    before = state_of(network)
    clone = shuffled(network, x, seed=1)
    assert same_state(before, state_of(network))
    for name, one in clone.named_parameters():
        own = network.get_parameter(name)
        assert torch.equal(one.flatten().sort().values, own.flatten().sort().values)
        assert own.numel() < 8 or not torch.equal(one, own)
    signal = clone(x)
    assert torch.isfinite(signal).all()
    assert signal.std() > 1e-3  # it still tells images apart
    assert torch.equal(clone(x), shuffled(network, x, seed=1)(x))
    assert not torch.equal(clone(x), shuffled(network, x, seed=2)(x))


def test_a_map_that_ignores_the_network_is_found_out():
    """Grad-CAM changes with the weights; the edges of the image do not."""
    network, x = member("cifar_resnet20")
    target = Target(torch.tensor([1, 3]))
    own = BY_NAME["gradcam"].run(asked(network, x, target)).maps.numpy()
    found = [
        np.mean(
            [
                rank_correlation(a, b)
                for a, b in zip(own, BY_NAME["gradcam"].run(asked(clone, x, target)).maps.numpy(), strict=True)
            ]
        )
        for clone in (shuffled(network, x, seed) for seed in range(4))
    ]
    assert np.mean(found) < 0.7
    assert Faithfulness(randomised=float(np.mean(found))).warnings() == ()
    edges = x.diff(dim=2).abs().mean(dim=1).numpy()
    sentence = Faithfulness(randomised=rank_correlation(edges[0], edges[0])).warnings()[0]
    assert sentence == (
        "A network whose weights were shuffled gives nearly the same map (rank correlation 1.00): it shows the image "
        "rather than what was learned."
    )
    assert grad_cam.__doc__


def test_every_warning_and_none():
    good = Faithfulness(0.2, 0.5, 0.8, 0.5, 0.6, 0.9, 0.1, 0.7, "Occlusion")
    assert good.warnings() == ()
    bad = Faithfulness(0.5, 0.5, 0.4, 0.5, 0.6, 0.2, 0.9, -0.1, "Occlusion")
    said = " ".join(bad.warnings())
    for words in (
        "lowers the probability no more than covering other places does (deletion 0.500, moved elsewhere down to 0.5",
        "raises the probability no more than showing other places does (insertion 0.400, moved elsewhere up to 0.500)",
        "changes under noise that is hardly seen (rank correlation 0.20)",
        "Occlusion marks other places (rank correlation -0.10)",
    ):
        assert words in said
    assert Faithfulness().warnings() == ()
    assert Faithfulness().to_dict()["agreement_with"] is None
