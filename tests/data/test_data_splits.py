"""Splits that cannot lie: whole groups, every class everywhere, the asked shares, and the images alone decide."""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.data.dataset import SPLITS, Dataset
from foveal.data.load import load
from foveal.data.splits import MOST_VALIDATION, Split, make_split
from foveal.errors import DataError, UsageError

SHARES = {"validation": 0.1, "test": 0.2}


def dataset(
    labels: list[int], groups: list[str] | None = None, splits: list[str] | None = None, **kw: object
) -> Dataset:
    """Images that differ (the first `copies` of them apart), with these columns; classes named a, b, …"""
    copies = int(kw.get("copies", 0))
    count = len(labels)
    pixels = np.arange(count, dtype="<u4").view(np.uint8).reshape(count, 2, 2)
    pixels[:copies] = 255
    return load(pixels, ["abcdefghijkl"[label] for label in labels], groups=groups, splits=splits)


def split(data: Dataset, seed: int = 0, by: str = "group", **shares: float) -> Split:
    return make_split(data, seed=seed, split_by=by, **{**SHARES, **shares})


def share(data: Dataset, made: Split, name: str, label: int) -> float:
    return float((data.labels[made.indices(name)] == label).sum() / (data.labels == label).sum())


def torn(column: np.ndarray, made: Split) -> set[str]:
    found: dict[str, set[str]] = {}
    for value, name in zip(column.tolist(), made.assigned.tolist(), strict=True):
        if value:
            found.setdefault(value, set()).add(name)
    return {value for value, names in found.items() if len(names) > 1}


def refusal(data: Dataset, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        split(data, **options)
    return str(caught.value)


# Made splits


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(3, 60), min_size=1, max_size=6),
    seed=st.integers(0, 9),
    validation=st.floats(0.02, 0.45),
    test=st.floats(0.02, 0.45),
)
def test_without_groups_every_class_gets_its_share_within_one_image(
    sizes: list[int], seed: int, validation: float, test: float
) -> None:
    data = dataset([label for label, size in enumerate(sizes) for _ in range(size)])
    made = split(data, seed, validation=validation, test=test)
    for name, asked in (("validation", validation), ("test", test)):
        for label, size in enumerate(sizes):
            count = int((data.labels[made.indices(name)] == label).sum())
            assert count >= 1
            assert abs(count - size * asked) < 1 or count <= max(1, round(size * asked))
        total = len(made.indices(name))
        assert abs(total - len(data) * asked) <= max(1, len(sizes))
    assert all((data.labels[made.indices("train")] == label).any() for label in range(len(sizes)))


def test_exact_numbers() -> None:
    made = split(dataset([0] * 100 + [1] * 50))
    assert [len(made.indices(name)) for name in SPLITS] == [105, 15, 30]
    assert made.by == "image"
    assert made.sentences == (
        "Split by lot, stratified by class, seed 0: 105 train, 15 validation, 30 test images.",
        "The source names no groups (patients), so a leak between related images cannot be excluded.",
    )


@settings(deadline=None, max_examples=120)
@given(
    groups=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), min_size=1, max_size=14),
    loose=st.lists(st.integers(0, 2), max_size=6),
    seed=st.integers(0, 3),
    order=st.randoms(use_true_random=False),
)
def test_whatever_the_groups_every_class_is_in_every_split_or_it_is_refused(
    groups: list[list[int]], loose: list[int], seed: int, order: object
) -> None:
    labels = [label for group in groups for label in group] + loose
    names = [f"p{number}" for number, group in enumerate(groups) for _ in group] + [""] * len(loose)
    data = dataset(labels, names)
    try:
        made = split(data, seed)
    except DataError as error:
        assert "every class must be in every split" in str(error)
        return
    assert torn(data.groups, made) == set()
    for name in SPLITS:
        assert set(data.labels[made.indices(name)].tolist()) == set(range(len(data.classes)))
    rows = list(range(len(data)))
    order.shuffle(rows)
    again = split(data.take(np.array(rows)), seed)
    assert again.assigned.tolist() == made.assigned[rows].tolist()


@settings(deadline=None, max_examples=60)
@given(groups=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=3), min_size=3, max_size=5))
def test_what_can_be_divided_is_divided(groups: list[list[int]]) -> None:
    """Against every possible division of a few groups."""
    labels = [label for group in groups for label in group]
    classes = set(labels)
    possible = any(
        all(
            {label for group, one in zip(groups, places, strict=True) if one == place for label in group} == classes
            for place in range(3)
        )
        for places in itertools.product(range(3), repeat=len(groups))
    )
    names = [f"p{number}" for number, group in enumerate(groups) for _ in group]
    data = dataset([sorted(classes).index(label) for label in labels], names)
    if possible:
        made = split(data)
        assert all(set(data.labels[made.indices(name)].tolist()) == set(range(len(classes))) for name in SPLITS)
    else:
        assert "every class must be in every split" in refusal(data)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "sizes",
    [[1] * 400, [*range(2, 40)] * 2, [200] + [2, 3, 5, 9] * 30, [60, 50, 40] + [1] * 200],
    ids=["single", "2 to 39", "one of 200", "three large"],
)
def test_shares_are_kept_where_groups_are_large(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    group_label = rng.integers(0, 3, len(sizes))
    data = dataset(
        np.repeat(group_label, sizes).tolist(), np.repeat([f"p{n}" for n in range(len(sizes))], sizes).tolist()
    )
    made = split(data, seed)
    assert torn(data.groups, made) == set()
    for name, asked in SHARES.items():
        assert abs(len(made.indices(name)) / len(data) - asked) < 0.01
        for label in range(3):
            assert abs(share(data, made, name, label) - asked) < 0.03


def test_the_seed_decides_and_names_do_not(class_folders: Path) -> None:
    def by_content(data: Dataset, seed: int) -> dict[str, str]:
        return dict(zip(data.scan.digests.tolist(), split(data, seed).assigned.tolist(), strict=True))

    before = by_content(load(class_folders), 0)
    assert by_content(load(class_folders), 0) == before
    assert any(by_content(load(class_folders), seed) != before for seed in (1, 2))
    files = [path for folder in sorted(class_folders.iterdir()) for path in sorted(folder.iterdir())]
    for number, path in enumerate(files):
        path.rename(path.with_name(f"z{(number * 7) % 36:02d}.png"))
    assert by_content(load(class_folders), 0) == before
    assert set(before.values()) == set(SPLITS)


def test_a_golden_split() -> None:
    """The same on every machine and version; when this must change, say so in the changelog."""
    made = split(dataset([0] * 8 + [1] * 6), seed=3)
    letters = {"train": ".", "validation": "v", "test": "t"}
    assert "".join(letters[name] for name in made.assigned.tolist()) == "..vt..t...tv.."


def test_equal_content_stays_together_and_joins_groups() -> None:
    for seed in range(5):
        data = dataset([0, 1] * 30, copies=12)
        made = split(data, seed)
        assert len(set(made.assigned[:12].tolist())) == 1
        groups = ["p", "q", "r", *[f"s{n}" for n in range(56)], "p"]
        data = dataset([0, 1] * 30, groups, copies=3)  # one image was filed under three patients
        made = split(data, seed)
        assert len(set(made.assigned[[0, 1, 2, 59]].tolist())) == 1


def test_an_image_without_a_group_is_its_own_group() -> None:
    made = split(dataset([0, 1] * 50, ["p1", "p2"] * 5 + [""] * 90))
    assert set(made.assigned[10:].tolist()) == set(SPLITS)
    assert made.by == "group"
    assert made.sentences[1:] == (
        "No group is torn: 2 groups, each in one split.",
        "90 images have no group; each counts as its own, and a leak among them cannot be excluded.",
    )


def test_splitting_grouped_images_by_image_is_said() -> None:
    data = dataset([0, 1] * 50, ["p1", "p2"] * 50)
    made = split(data, by="image")
    assert torn(data.groups, made) == {"p1", "p2"}
    assert made.by == "image"
    assert "Split by image although groups are known (--split-by image)" in made.sentences[1]
    assert "the figures are likely too good" in made.sentences[1]
    assert "2 images in 1 groups or duplicates" not in refusal(data)
    assert "a: 50 images in 1 groups or duplicates" in refusal(data)


def test_validation_is_capped() -> None:
    data = dataset([n % 3 for n in range(60_000)])
    made = split(data, validation=0.2, test=0.1)
    assert len(made.indices("validation")) == MOST_VALIDATION
    assert len(made.indices("test")) == 6_000


def test_a_class_with_fewer_images_than_splits_is_refused() -> None:
    message = refusal(dataset([0] * 10 + [1, 1] + [2]))
    assert message == (
        "arrays: every class must be in every split, so it needs at least 3 different images (or groups):\n"
        "  b: 2 images\n  c: 1 images"
    )
    assert "b: 5 images in 2 groups or duplicates" in refusal(
        dataset([0] * 10 + [1] * 5, [f"p{n}" for n in range(10)] + ["x", "x", "y", "y", "y"])
    )
    assert "a: 4 images in 1 groups or duplicates" in refusal(dataset([0] * 4 + [1] * 5, copies=4))


def of_mixed_groups(groups: list[str]) -> Dataset:
    """Each group holds one image of each class that its letters name."""
    labels = ["abcdefg".index(letter) for group in groups for letter in group]
    return dataset(labels, [f"p{number}" for number, group in enumerate(groups) for _ in group])


@pytest.mark.parametrize("groups", ["ab cd ac bd ad bc", "ad ae af bd be bf cd ce cf", "ab bc ca de ef fd ad be cf"])
def test_groups_that_hold_several_classes_are_divided_where_that_is_possible(groups: str) -> None:
    """Every class is in three groups only: edge colourings of K4, K3,3, prism; a first lot seldom finds one."""
    data = of_mixed_groups(groups.split())
    for seed in range(10):
        made = split(data, seed)
        assert [sorted(made.assigned).count(name) for name in SPLITS] == [len(data) // 3] * 3


def test_groups_that_allow_no_division_are_refused() -> None:
    fano = [
        "abc",
        "ade",
        "afg",
        "bdf",
        "beg",
        "cdg",
        "cef",
    ]  # every class in three groups, any two groups share a class
    assert refusal(of_mixed_groups(fano)) == (
        "arrays: every class must be in every split, but no division of the 7 groups was found that does so: "
        "groups that hold several classes leave too little freedom."
    )


@pytest.mark.parametrize(
    ("validation", "test"), [(0, 0.2), (0.1, 0), (0.5, 0.5), (-0.1, 0.2), (0.1, 1.0), (float("nan"), 0.2)]
)
def test_shares_that_leave_nothing_are_refused(validation: float, test: float) -> None:
    with pytest.raises(UsageError, match="shares above 0 that leave some for training"):
        split(dataset([0, 1] * 10), validation=validation, test=test)


# Given splits


def test_given_splits_are_respected() -> None:
    names = ["train"] * 6 + ["validation"] * 2 + ["test"] * 4
    made = split(dataset([0, 1] * 6, splits=names))
    assert made.assigned.tolist() == names
    assert made.by == "given"
    assert made.sentences[0] == "The source gives the splits: 6 train, 2 validation, 4 test images."


@pytest.mark.parametrize("given_name", ["test", "validation"])
def test_of_a_given_split_nothing_moves_and_the_other_is_drawn(given_name: str) -> None:
    drawn = "validation" if given_name == "test" else "test"
    names = ["train"] * 80 + [given_name] * 20
    for seed in range(3):
        made = split(dataset([0, 1] * 50, splits=names), seed)
        assert made.indices(given_name).tolist() == list(range(80, 100))
        assert len(made.indices(drawn)) == round(80 * SHARES[drawn])
        assert made.sentences[0].startswith(f"The source gives the other splits; {drawn} was drawn from train by lot")


def test_train_alone_is_divided_in_three() -> None:
    made = split(dataset([0, 1] * 50, splits=["train"] * 100))
    assert [len(made.indices(name)) for name in SPLITS] == [70, 10, 20]


def test_groups_torn_by_the_given_splits_are_said() -> None:
    names = ["train"] * 80 + ["test"] * 20
    made = split(dataset([0, 1] * 50, [f"p{n % 40}" for n in range(100)], names))
    assert "Groups lie in more than one of the given splits, so the figures are likely too good." in made.sentences
    whole = split(dataset([0, 1] * 50, [f"p{n // 5}" for n in range(100)], names))
    assert "No group is torn: 20 groups, each in one split." in whole.sentences


def test_given_splits_that_lack_something_are_refused() -> None:
    labels = [0, 1] * 20
    message = refusal(dataset(labels, splits=["train"] * 38 + ["test", ""]))
    assert message == "arrays: 1 images have no split while others have one:\n  000039"
    assert "has the splits test, validation, but none to train on" in refusal(
        dataset(labels, splits=["test", "validation"] * 20)
    )
    lacking = dataset(labels, splits=["train"] * 36 + ["test", "validation"] * 2)
    assert refusal(lacking) == (
        "arrays: every class must be in every split:\n  b: no image in validation\n  a: no image in test"
    ).replace("b: no image in validation\n  a: no image in test", "a: no image in validation\n  b: no image in test")


# Real data


def test_patients_of_chest_radiographs(real_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(real_data / "cxr3.zip") as archive:
        archive.extract("cxr3/manifest.csv", tmp_path)
    manifest = tmp_path / "cxr3" / "manifest.csv"
    for number, line in enumerate(manifest.read_text("utf-8-sig").splitlines()[1:]):
        name = next(cell for cell in line.split(",") if cell.endswith(".jpg"))
        path = manifest.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array([[number >> 8, number & 255]], np.uint8)).save(path, "PPM")
    data = load(manifest)
    assert len(np.unique(data.groups[data.groups != ""])) == 682
    for seed in range(3):
        made = split(data, seed)
        assert torn(data.groups, made) == set()
        for name, asked in SHARES.items():
            assert abs(len(made.indices(name)) / len(data) - asked) < 0.01
            for label in range(3):
                assert abs(share(data, made, name, label) - asked) < 0.01


# The calibration split


def test_a_calibration_split_takes_whole_groups_and_leaves_the_others_their_shares() -> None:
    groups = [f"p{row // 3}" for row in range(600)]
    data = dataset([row // 3 % 3 for row in range(600)], groups)
    made = split(data, calibration=0.15)
    assert not torn(data.groups, made)
    assert set(made.assigned.tolist()) == {*SPLITS, "calibration"}
    for name, wanted in (("calibration", 0.15), ("validation", 0.1), ("test", 0.2)):
        assert all(abs(share(data, made, name, label) - wanted) < 0.02 for label in range(3))
    assert "calibration" in made.sentences[0]
    assert "calibration" not in split(data).sentences[0]


def test_a_given_calibration_split_is_kept_and_none_is_drawn() -> None:
    names = ["train", "train", "validation", "test", "calibration"] * 6
    data = dataset([row % 2 for row in range(30)], splits=names)
    made = split(data, calibration=0.3)
    assert made.assigned.tolist() == names
    assert made.by == "given"


def test_a_calibration_split_is_drawn_from_train_where_the_source_gives_the_others() -> None:
    names = (["train"] * 8 + ["validation", "test"]) * 4
    data = dataset([row // 10 % 2 for row in range(40)], splits=names)
    made = split(data, calibration=0.25)
    assert (made.assigned == "calibration").sum() == 8
    assert "calibration was drawn from train by lot" in made.sentences[0]


def test_shares_that_leave_nothing_for_training_are_refused() -> None:
    with pytest.raises(UsageError, match=r"and calibration \(0\.7\) leave some for training"):
        split(dataset([0, 1] * 20), calibration=0.7)
