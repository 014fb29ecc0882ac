"""The policy: from and to what JSON and TOML store, presets by name, and itself in words."""

from __future__ import annotations

import json
import tomllib
from dataclasses import fields

import pytest
import tomli_w

from foveal.data.augment.policy import LIMITS, PRESETS, Augment, describe
from foveal.errors import UsageError


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json_and_toml(name):
    policy = PRESETS[name]
    assert Augment.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy
    assert Augment.from_dict(tomllib.loads(tomli_w.dumps(policy.to_dict()))) == policy
    assert Augment.parse(name) == policy


def test_every_number_has_its_limits_and_is_off_by_default():
    assert {field.name for field in fields(Augment)} == {*LIMITS, "fill"}
    assert Augment() == PRESETS["none"]
    assert not Augment().changes_images
    assert not Augment().mixes_images
    assert not Augment().moves_pixels


def test_what_a_policy_touches():
    assert Augment(noise=0.1).changes_images
    assert not Augment(noise=0.1).moves_pixels
    assert Augment(pad_crop=0.1).moves_pixels
    assert Augment(pad_crop=0.1, horizontal_flip=0.5, translation=0.1).keeps_whole_pixels
    assert not Augment(rotation_deg=1).keeps_whole_pixels
    assert Augment(mixup=0.2).mixes_images
    assert not Augment(mixup=0.2).changes_images


def test_x_ray_neither_flips_nor_colours():
    xray = PRESETS["xray"]
    assert not (xray.horizontal_flip or xray.vertical_flip or xray.saturation or xray.hue or xray.pca_colour)
    assert xray.fill == "black"


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("rotation_deg=10", Augment(rotation_deg=10)),
        ("none, zoom = 0.1", Augment(zoom=0.1)),
        (
            "digit,fill=reflect,elastic=0",
            Augment.from_dict({**PRESETS["digit"].to_dict(), "fill": "reflect", "elastic": 0}),
        ),
        ("cutmix=1,mixup=0.2", Augment(mixup=0.2, cutmix=1)),
    ],
)
def test_parse(text, policy):
    assert Augment.parse(text) == policy


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("foto", '"foto" is no augmentation; there are none, photo, digit, xray. Did you mean "photo"?'),
        ("", '"" is no augmentation'),
        ("photo,rotation=5", '"rotation" is nothing that augmentation does. Did you mean "rotation_deg"?'),
        ("photo,zoom", 'by name=value, as in zoom=0.1, not by "zoom"'),
        ("zoom=0.1,zoom=0.2", "zoom is given twice."),
        ("zoom=big", "zoom is a number from 0 to 0.9, not 'big'."),
        ("zoom=nan", "zoom is a number from 0 to 0.9, not nan."),
        ("rotation_deg=-5", "rotation_deg is a number from 0 to 180, not -5.0."),
        ("horizontal_flip=1.5", "horizontal_flip is a number from 0 to 1, not 1.5."),
        ("resized_crop=0.001", "resized_crop is 0 (off) or at least 0.01, not 0.001."),
        ("fill=white", 'fill is "black" or "reflect", not \'white\'.'),
    ],
)
def test_what_is_wrong_is_said(text, says):
    with pytest.raises(UsageError) as error:
        Augment.parse(text)
    assert says in str(error.value)


def test_a_stored_policy_is_checked():
    with pytest.raises(UsageError, match=r'"horizontal_flp" is nothing .* Did you mean "horizontal_flip"'):
        Augment.from_dict({"horizontal_flp": 0.5})
    with pytest.raises(UsageError, match="horizontal_flip is a number from 0 to 1, not True"):
        Augment.from_dict({"horizontal_flip": True})
    with pytest.raises(UsageError, match="noise is a number"):
        Augment.from_dict({"noise": None})


def test_a_policy_in_words():
    assert describe(Augment()) == []
    assert describe(Augment(elastic_sigma=9, fill="reflect")) == []
    assert describe(PRESETS["xray"]) == [
        "rotation up to 5°",
        "translation up to 5 % of the side",
        "zoom from 90 % to 110 %",
        "outside of the picture: black",
        "brightness ±10 %",
        "contrast ±15 %",
        "gamma from 0.87 to 1.15",
        "noise of 1 % of the full range (standard deviation)",
    ]


@pytest.mark.parametrize("name", [one for one in LIMITS if one != "elastic_sigma"])
def test_every_strength_has_its_words(name):
    assert describe(Augment.from_dict({name: 0.3}))
