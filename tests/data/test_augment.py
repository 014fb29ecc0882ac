"""Augmented batches: an image's change is its seed's alone, and nothing happens that the policy does not say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from foveal.data.augment import batch
from foveal.data.augment.batch import augment_batch
from foveal.data.augment.draws import Draws, Lot, hashes, image_seeds, normal, scrambled
from foveal.data.augment.policy import LIMITS, PRESETS, Augment
from foveal.errors import UsageError

EVERYTHING = Augment(
    horizontal_flip=0.5,
    vertical_flip=0.5,
    pad_crop=0.1,
    resized_crop=0.5,
    rotation_deg=30,
    translation=0.1,
    zoom=0.2,
    elastic=1,
    elastic_sigma=3,
    fill="reflect",
    brightness=0.3,
    contrast=0.3,
    gamma=0.3,
    saturation=0.3,
    hue=0.1,
    pca_colour=0.1,
    blur=0.8,
    noise=0.05,
    cutout=0.3,
)
MILD = {name: high if high <= 1 else min(high, 3) for name, (_, high) in LIMITS.items()}

policies = st.builds(
    Augment,
    fill=st.sampled_from(["black", "reflect"]),
    elastic_sigma=st.floats(1, 6),
    resized_crop=st.just(0) | st.floats(0.05, 1),
    **{
        name: st.just(0) | st.floats(0, MILD[name])
        for name in LIMITS
        if name not in ("elastic_sigma", "resized_crop", "mixup", "cutmix")
    },
)


def pictures(count: int, height: int, width: int, channels: int, seed: int = 0) -> torch.Tensor:
    """uint8 (count, height, width, channels), of noise."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, height, width, channels), np.uint8))


def seeds(count: int, seed: int = 0, epoch: int = 0) -> torch.Tensor:
    return image_seeds(seed, epoch, torch.arange(count))


@settings(deadline=None, max_examples=60)
@given(
    policy=policies,
    count=st.integers(1, 5),
    sides=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**63 - 1),
)
def test_an_image_is_changed_by_its_seed_alone(policy, count, sides, channels, seed):
    images, own = pictures(count, *sides, channels), seeds(count, seed)
    before = images.clone()
    whole = augment_batch(images, policy, own)
    assert whole.dtype == torch.uint8
    assert whole.shape == images.shape
    assert torch.equal(images, before)
    assert torch.equal(whole, augment_batch(images, policy, own))
    turned = torch.arange(count - 1, -1, -1)
    assert torch.equal(augment_batch(images[turned], policy, own[turned])[turned], whole)
    alone = [augment_batch(images[one : one + 1], policy, own[one : one + 1]) for one in range(count)]
    assert torch.equal(torch.cat(alone), whole)


@pytest.mark.parametrize("policy", [PRESETS["photo"], EVERYTHING], ids=["photo", "everything"])
def test_many_photos_are_changed_as_each_alone(policy):
    images, own = pictures(9, 96, 131, 3), seeds(9)
    whole = augment_batch(images, policy, own)  # in parts of several images
    assert batch.PART // images[0].numel() > 1
    for one in range(9):
        assert torch.equal(augment_batch(images[one : one + 1], policy, own[one : one + 1])[0], whole[one])


@settings(deadline=None, max_examples=20)
@given(
    sides=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    fill=st.sampled_from(["black", "reflect"]),
    elastic_sigma=st.floats(1, 50),
    mixup=st.floats(0, 2),
)
def test_a_policy_that_is_off_is_the_identity(sides, fill, elastic_sigma, mixup):
    images = pictures(3, *sides, 3)
    policy = Augment(fill=fill, elastic_sigma=elastic_sigma, mixup=mixup)
    assert torch.equal(augment_batch(images, policy, seeds(3)), images)


@pytest.mark.parametrize("name", [one for one in LIMITS if one not in ("elastic_sigma", "mixup", "cutmix")])
def test_each_strength_alone_changes_something(name):
    images, policy = pictures(40, 24, 24, 3), Augment.from_dict({name: 0.4})
    changed = augment_batch(images, policy, seeds(40)) != images
    assert changed.flatten(1).any(1).sum() >= 8


@pytest.mark.parametrize("name", ["saturation", "hue", "pca_colour"])
def test_colours_do_nothing_to_grey_images(name):
    images = pictures(4, 8, 8, 1)
    assert torch.equal(augment_batch(images, Augment.from_dict({name: 0.5}), seeds(4)), images)


def test_images_laid_out_otherwise_are_the_same_images():
    images = pictures(4, 12, 10, 3)
    channels_first = images.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    out = augment_batch(channels_first, EVERYTHING, seeds(4))
    assert out.is_contiguous()
    assert torch.equal(out, augment_batch(images, EVERYTHING, seeds(4)))


@pytest.mark.parametrize("policy", [*PRESETS.values(), EVERYTHING, Augment(pad_crop=0.1, cutout=0.2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_nothing_is_computed_away_from_the_images(policy, channels):
    meta = torch.device("meta")  # which has no numbers: whatever asked for one, or mixed devices, would fail
    images = torch.empty(4, 20, 30, channels, dtype=torch.uint8, device=meta)
    out = augment_batch(images, policy, image_seeds(1, 2, torch.arange(4, device=meta)))
    assert (out.device, out.shape) == (meta, images.shape)


def test_no_gradient_and_no_global_chance():
    state = torch.get_rng_state()
    augment_batch(pictures(2, 8, 8, 3), EVERYTHING, seeds(2))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("images", "own", "says"),
    [
        (torch.zeros(2, 8, 8, 3), seeds(2), "uint8 (B, H, W, 1 or 3), not float32 of shape (2, 8, 8, 3)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), seeds(2), "of shape (2, 3, 8, 8)"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), seeds(8), "of shape (8, 8, 3)"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), seeds(3), "2 of them, not int64 of shape (3,)"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), torch.zeros(2), "not float32 of shape (2,)"),
    ],
)
def test_other_input_is_refused_in_a_sentence(images, own, says):
    with pytest.raises(UsageError) as error:
        augment_batch(images, EVERYTHING, own)
    assert says in str(error.value)


def test_seeds_of_an_epoch_are_distinct_and_no_other_epoch_has_them():
    every = torch.cat([seeds(20_000, seed, epoch) for seed in (0, 1, 2**63 - 1) for epoch in (0, 1, 2)])
    assert len(every.unique()) == len(every)
    assert every.dtype == torch.int64


def test_a_seed_is_the_row_s_wherever_it_stands():
    rows = torch.tensor([7, 0, 123_456])
    assert torch.equal(image_seeds(5, 3, rows)[[0]], image_seeds(5, 3, rows[[0]]))
    assert not torch.equal(image_seeds(5, 3, rows), image_seeds(5, 4, rows))
    with pytest.raises(UsageError, match="one int64 number an image"):
        image_seeds(0, 0, rows.float())


def test_what_a_seed_means_is_for_good():
    """A resumed run must go on as it began: these numbers do not change."""
    assert image_seeds(7, 2, torch.tensor([0, 5])).tolist() == [-4835952492219681278, 3842932880204819998]
    draws = Draws(torch.tensor([1, -1]))
    assert draws.share(Lot.HORIZONTAL_FLIP).tolist() == pytest.approx([0.7497482413580301, 0.64635420864685])
    assert hashes(draws.keys(Lot.NOISE), 2).tolist() == [[-1874297466, 1079833052], [1160990419, -13718148]]


def test_the_hash_is_splitmix64_s():
    """Steele, Lea, Flood 2014: the first outputs of java.util.SplittableRandom's mixer for the seed 0."""
    golden = 0x9E3779B97F4A7C15
    first = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    words = torch.tensor([golden * step % 2**64 - (2**64 if golden * step % 2**64 >> 63 else 0) for step in (1, 2, 3)])
    assert [word % 2**64 for word in scrambled(words).tolist()] == first


def test_draws_are_uniform_and_independent():
    draws = Draws(torch.arange(20_000))
    for lot in Lot:
        assert stats.kstest(draws.share(lot).numpy(), "uniform").pvalue > 1e-4
    correlation = np.corrcoef(draws.shares.numpy().T)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.035
    assert set(draws.whole(Lot.PAD_X, 2).tolist()) == {-2, -1, 0, 1, 2}
    assert set(draws.whole(Lot.PAD_X, 0).tolist()) == {0}
    assert draws.between(Lot.ZOOM, 0.5, 2).aminmax() == pytest.approx((0.5, 2), abs=0.01)


def test_normal_is_normal_and_independent_between_images():
    words = hashes(Draws(torch.arange(40)).keys(Lot.NOISE), 5000)
    values = normal(words).numpy()
    assert values.dtype == np.float32
    assert stats.kstest(values.ravel(), "norm").statistic < 0.006
    assert values.mean() == pytest.approx(0, abs=0.01)
    assert values.std() == pytest.approx(1, abs=0.01)
    assert stats.kurtosis(values.ravel()) == pytest.approx(0, abs=0.05)
    off = np.corrcoef(values) - np.eye(len(values))
    assert np.abs(off).max() < 0.07  # 4.9 standard deviations of 1/√5000
    assert np.corrcoef(values.ravel()[1:], values.ravel()[:-1])[0, 1] == pytest.approx(0, abs=0.01)
