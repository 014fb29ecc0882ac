"""Batches that vary and balance: exact on resumption, every class as often, mixed labels learned from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import foveal
from foveal.data.augment.batch import augment_batch
from foveal.data.augment.draws import image_seeds
from foveal.data.augment.policy import Augment
from foveal.data.batches import Batches
from foveal.errors import Interrupted, UsageError
from foveal.run import Run
from foveal.training import loop

CPU = torch.device("cpu")


def batches(**more: object) -> Batches:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
    labels = np.array([0] * 40 + [1] * 15 + [2] * 5)
    defaults = {"batch_size": 16, "seed": 3, "device": CPU}
    return Batches(more.pop("pixels", pixels), labels, np.arange(60), **{**defaults, **more})


def test_an_image_is_varied_by_seed_epoch_and_row_alone():
    policy = Augment.parse("digit")
    made, plain = batches(augment=policy), batches()
    for epoch in (0, 1):
        rows = plain.rows[plain.stream(epoch * 60)]
        for number, (images, labels) in enumerate(made.of_epoch(epoch)):
            at = rows[number * 16 : (number + 1) * 16]
            assert torch.equal(images, augment_batch(plain.pixels[at], policy, image_seeds(3, epoch, at)))
            assert torch.equal(labels, plain.labels[at])
    late = list(made.of_epoch(1, start=2))
    assert torch.equal(late[0][0], list(made.of_epoch(1))[2][0])  # a resumed epoch sees the same


def test_balanced_passes_have_every_class_as_often_and_all_of_its_images():
    made = batches(balanced=True, epoch_images=600)
    seen = torch.cat([labels for _, labels in made.of_epoch(0)])
    assert torch.bincount(seen).tolist() == [200, 200, 200]
    rows = made.rows[made.stream(0)]
    counts = torch.bincount(rows, minlength=60)
    assert (
        counts[:40].tolist() == [5] * 40
        and set(counts[40:55].tolist()) == {13, 14}
        and counts[55:].tolist() == [40] * 5
    )
    assert not torch.equal(made.stream(0), made.stream(600))


def test_views_are_chosen_by_lot_and_their_labels_stay():
    views = np.concatenate([np.full((60, 4), view, np.float32) for view in range(3)])
    made = batches(pixels=views, views=3)
    first, second = (torch.cat([images[:, 0] for images, _ in made.of_epoch(epoch)]) for epoch in (0, 1))
    assert set(first.tolist()) == {0.0, 1.0, 2.0} and not torch.equal(first, second)
    assert torch.equal(torch.cat([x[:, 0] for x, _ in made.of_epoch(0)]), first)


@pytest.mark.parametrize("augment", ["digit", "mixup=0.4", "digit,cutmix=1"])
def test_a_varied_training_goes_on_exactly(few_digits, tmp_path, monkeypatch, augment):
    fields = {
        "model": "mlp",
        "epochs": 3,
        "batch_size": 32,
        "augment": augment,
        "sampler": "balanced",
        "progress": False,
    }
    whole = foveal.train(few_digits, out=tmp_path / "whole", **fields)
    learn, left = loop.learn, [9]

    def stopping(*arguments):
        left[0] -= 1
        if not left[0]:
            monkeypatch.setattr(loop.StopRequest, "__bool__", lambda _: True)
        return learn(*arguments)

    monkeypatch.setattr(loop, "learn", stopping)
    with pytest.raises(Interrupted):
        foveal.train(few_digits, out=tmp_path / "cut", **fields)
    monkeypatch.undo()
    resumed = foveal.train(few_digits, resume=tmp_path / "cut", progress=False)
    files = [(run.classifier_dir / "weights.safetensors").read_bytes() for run in (whole, resumed)]
    assert files[0] == files[1]
    assert [row["train_loss"] for row in whole.history] == [row["train_loss"] for row in resumed.history]


def test_a_policy_is_part_of_the_recipe_and_a_wrong_one_is_refused(few_digits, tmp_path):
    run = foveal.train(few_digits, model="mlp", epochs=1, augment="digit", out=tmp_path / "run", progress=False)
    assert Run(run.path).recipe["augment"] == "digit"
    assert foveal.Recipe(augment="none").augment is None
    with pytest.raises(UsageError, match="digti"):
        foveal.Recipe().changed({"augment": "digti"})
    with pytest.raises(UsageError, match="soft labels, which the loss focal cannot take"):
        foveal.Recipe().changed({"augment": "mixup=0.2", "loss": "focal"})
