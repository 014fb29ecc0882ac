"""Noise: equal for an equal seed, even, and nothing that a classifier could learn."""

from __future__ import annotations

import numpy as np
import pytest

import foveal
from foveal.data.load import load
from foveal.data.sources.noise import read_noise


def test_noise_is_its_seed() -> None:
    noise = load("noise")
    assert repr(noise) == "Dataset('noise': 1,000 images, 10 classes: 0, 1, 2, 3, 4, 5, …)"
    assert noise.images.pixels.shape == (1_000, 28, 28, 1)
    assert noise.content_hash == load("noise").content_hash == load("noise:0").content_hash
    other = load("noise:7")
    assert (other.name, other.origin) == ("noise-7", "noise:7")
    assert not set(other.scan.digests) & set(noise.scan.digests)
    assert not set(other.record_ids) & set(noise.record_ids)


def test_noise_is_even() -> None:
    noise = read_noise(seed=3, count=2_000)
    levels = np.bincount(noise.images.pixels.ravel(), minlength=256) / noise.images.pixels.size
    assert np.abs(levels * 256 - 1).max() < 0.1
    assert min(noise.class_counts().values()) > 150
    means = noise.images.pixels.mean(axis=(1, 2, 3))
    by_class = [means[noise.labels == number].mean() for number in range(10)]
    assert np.ptp(by_class) < 2  # of 255; a mean of 28×28 values strays by 2.6, one of 200 images by 0.2


@pytest.mark.slow
def test_noise_is_learnt_by_heart_and_fresh_noise_stays_at_chance(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = foveal.train("noise", model="simple_cnn_p6", epochs=40, patience=0, threads=1, progress=False)
    assert float(run.history[-1]["train_accuracy"]) > 0.95
    fresh = foveal.evaluate(run.path, "noise:1", progress=False)
    assert 0.07 < fresh["accuracy"]["value"] < 0.13  # three standard deviations of 1,000 guesses
