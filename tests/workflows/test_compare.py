"""Comparing stored runs: what counts, what is said, what is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from scipy.stats import binomtest
from stored_comparisons import Stored, images

import foveal
from foveal.errors import ClassifierError, OutputError, UsageError
from foveal.files import write_csv, write_text
from foveal.workflows.compare import compare


@pytest.fixture
def two(tmp_path):
    """Two runs on the same forty images: only the first is right on 7, only the second on 2, neither on 1."""
    tested = images(1, 40)
    first = Stored(tmp_path / "a", tested, wrong=images(1, 3))
    second = Stored(tmp_path / "b", tested, wrong=(*images(3, 10),), recipe={"model": "mlp"})
    return first, second


def paths(*stored: Stored):
    return [one.write().path for one in stored]


def test_two_runs_on_the_same_images(two):
    comparison = foveal.compare(paths(*two))
    (pair,) = comparison.pairs
    result = pair.result
    counts = (result.both_right, result.only_first, result.only_second, result.both_wrong)
    assert counts == (30, 7, 2, 1)
    assert result.p_value == pytest.approx(binomtest(7, 9, 0.5).pvalue)
    assert result.difference.value == pytest.approx(5 / 40)
    assert pair.sentences == ()
    assert comparison.notes == ()
    assert comparison.common == 40
    assert comparison.differing == {"model": ("lenet5", "mlp")}
    assert [run.letter for run in comparison.runs] == ["A", "B"]
    assert [run.accuracy.value for run in comparison.runs] == pytest.approx([37 / 40, 32 / 40])
    assert comparison.runs[0].macs == 117600
    assert comparison.page is None


def test_the_disagreements_are_those_images(two):
    comparison = compare(paths(*two))
    assert {one.record_id for one in comparison.disagreements} == {f"i{n}" for n in (1, 2, *range(4, 11))}
    one = next(one for one in comparison.disagreements if one.record_id == "i1")
    assert [(said.predicted, said.right) for said in one.said] == [("dog", False), ("cat", True)]


def test_what_the_other_run_trained_on_never_counts(two):
    """The second run trained on the images 1 to 10; of the forty that the first tested they must not count."""
    first, second = two
    second.tested, second.trained = images(11, 50), images(1, 10)
    (pair,) = compare(paths(first, second)).pairs
    assert pair.result.n == 30
    assert pair.result.only_first == pair.result.only_second == 0
    (sentence,) = pair.sentences
    assert "10 images that only B was tested on" in sentence
    assert "10 images of A's that served training or validation of one of the two" in sentence


def test_validation_images_are_learnt_from_too(two):
    first, second = two
    second.tested, second.validated = images(6, 40), images(1, 5)
    (pair,) = compare(paths(first, second)).pairs
    assert pair.result.n == 35


@pytest.mark.parametrize("knowing", [0, 1])
def test_patients_of_whom_the_other_run_saw_other_images_never_count(two, tmp_path, knowing):
    """The second run trained on i41 and chose its epoch by i42, of the patients of i1 to i5 and i6 to i9.

    One run alone knows these patients, whichever. The other calls a patient P too, that of i20: the name says nothing,
    since no run learnt from an image of that one.
    """
    two[1].trained, two[1].validated = ("t1", "i41"), ("i42",)
    patients = dict.fromkeys((*images(1, 5), "i41"), "P") | dict.fromkeys((*images(6, 9), "i42"), "Q")
    two[knowing].groups = patients | dict.fromkeys(images(10, 40), "R")
    two[1 - knowing].groups = {"i20": "P"}
    if knowing == 0:
        two[0].tested = images(1, 42)  # the first run knows the patients of i41 and i42 since it tested them
    page = tmp_path / "page.html"
    comparison = compare(paths(*two), out=page)
    (pair,) = comparison.pairs
    assert pair.result.n == comparison.common == 31
    assert (pair.result.only_first, pair.result.only_second) == (1, 0)
    assert [one.record_id for one in comparison.disagreements] == ["i10"]
    said = "9 images where one of the two learnt from other images of the same groups"
    assert said in pair.sentences[0]
    assert said in page.read_text()


def test_runs_without_an_image_in_common_are_not_tested(two):
    first, second = two
    second.tested, second.wrong = images(41, 60), ()
    comparison = compare(paths(first, second))
    assert comparison.pairs[0].result is None
    assert "compared on none" in comparison.pairs[0].sentences[0]
    assert comparison.common == 0


def test_three_runs_are_corrected_by_holm(two, tmp_path):
    third = Stored(tmp_path / "c", images(1, 40), wrong=images(20, 21))
    comparison = compare(paths(*two, third))
    assert [(pair.first, pair.second) for pair in comparison.pairs] == [("A", "B"), ("A", "C"), ("B", "C")]
    p_values = sorted(pair.result.p_value for pair in comparison.pairs)
    adjusted = sorted(pair.result.p_adjusted for pair in comparison.pairs)
    assert adjusted[0] == pytest.approx(3 * p_values[0])


def test_groups_are_the_unit(two):
    first, second = two
    first.groups = second.groups = {one: f"P{number // 4}" for number, one in enumerate(images(1, 40))}
    result = compare(paths(first, second)).pairs[0].result
    assert result.groups == 10
    assert "over groups" in result.test
    assert result.difference.method == "Tango for groups"


def test_the_order_of_the_classes_does_not_matter(two):
    first, second = two
    second.classes = ("dog", "cat")
    assert compare(paths(first, second)).pairs[0].result.only_first == 7


def test_other_data_and_leaks_are_said(two):
    first, second = two
    second.dataset_hash = "e" * 64
    second.findings = [
        {
            "name": "group-across-splits",
            "severity": "block",
            "sentence": "",
            "records": [],
            "accepted": True,
            "count": 1,
        }
    ]
    notes = " ".join(compare(paths(first, second)).notes)
    assert "trained on different data" in notes
    assert "B: the audit found images of the same groups" in notes


def test_validation_says_that_it_chose_the_epoch(two):
    comparison = compare(paths(*two), evaluation="validation")
    assert comparison.pairs[0].result.n == 1
    assert "best epoch by validation images" in comparison.notes[0]


def test_a_copy_of_a_run_is_called_that(two, tmp_path):
    first, _ = two
    again = Stored(first.path, first.tested, first.wrong).write()
    again.path.rename(tmp_path / "copy")
    comparison = compare([first.write().path, tmp_path / "copy"])
    assert "hold the same classifier" in comparison.notes[0]


# --- what is refused ---


def test_one_run_alone(two):
    with pytest.raises(UsageError, match="at least two runs"):
        compare(paths(two[0]))


def test_the_same_run_twice(two):
    path = two[0].write().path
    with pytest.raises(UsageError, match="the same run"):
        compare([path, path.parent / "." / path.name / ".." / path.name])
    with pytest.raises(UsageError, match="the same run"):
        compare([path, path / "classifier"])


def test_other_classes(two):
    first, second = two
    second.classes = ("cat", "dog", "owl")
    with pytest.raises(UsageError, match=r"answer different classes \(owl\)"):
        compare(paths(first, second))


def test_a_run_that_is_not_there_or_none_or_not_finished(two, tmp_path):
    first, second = paths(*two)
    with pytest.raises(ClassifierError, match="There is no run at"):
        compare([first, tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClassifierError, match="holds no recipe"):
        compare([first, tmp_path / "empty"])
    with pytest.raises(ClassifierError, match="holds several runs"):
        compare([first, tmp_path])
    (tmp_path / "repeated" / "repeats" / "0").mkdir(parents=True)
    for folder in (tmp_path / "repeated", tmp_path / "repeated" / "repeats" / "0"):
        (folder / "recipe.toml").touch()
    with pytest.raises(ClassifierError, match=r"holds several runs; name those to compare, as in .*repeats/0"):
        compare([first, tmp_path / "repeated"])
    (second / "report.html").unlink()
    with pytest.raises(ClassifierError, match="foveal train --resume"):
        compare([first, second])


def test_an_evaluation_that_is_not_there(two):
    with pytest.raises(ClassifierError, match=r'no evaluation "tset", only test, validation. Did you mean "test"'):
        compare(paths(*two), evaluation="tset")
    with pytest.raises(ClassifierError, match="no evaluation"):
        compare(paths(*two), evaluation="../evaluations/test")


@pytest.mark.parametrize("name", ["splits.csv", "recipe.toml", "audit.json"])
def test_a_file_that_was_changed(two, name):
    first, second = paths(*two)
    file = second / name
    write_text(file, file.read_text() + "\n")
    with pytest.raises(ClassifierError, match=f"{name} is missing or was changed"):
        compare([first, second])


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("cat,cat", "cat,dog", 1),  # an answer is no longer that of the figures
        lambda text: text.replace("i5,", "i77,", 1),
        lambda text: text.replace("label", "lable", 1),
        lambda text: "\n".join(text.splitlines()[:20]) + "\n",
        lambda text: text.replace("0.800000000", "much", 1),
    ],
)
def test_damaged_predictions(two, damage):
    first, second = paths(*two)
    file = second / "evaluations" / "test" / "predictions.csv"
    write_text(file, damage(file.read_text()))
    with pytest.raises(ClassifierError, match="damaged"):
        compare([first, second])


def test_answers_of_another_classifier(two):
    first, second = paths(*two)
    file = second / "classifier" / "classifier.json"
    write_text(file, file.read_text().replace('"content_hash": "', '"content_hash": "0'))
    with pytest.raises(ClassifierError, match="answers of another classifier"):
        compare([first, second])


def test_an_evaluation_of_other_data_needs_its_records(two):
    """Such an evaluation is joined by its own records.csv; without it nothing says which images these were."""
    stored = [one.write() for one in two]
    for run in stored:
        shutil.copytree(run.evaluation_dir("test"), run.evaluation_dir("spring"))
    with pytest.raises(ClassifierError, match=r"records.csv is missing.*evaluate again"):
        compare([run.path for run in stored], evaluation="spring")
    for run in stored:
        rows = [(row["record_id"], "", row["group"], "", row["sha256"]) for row in run.splits if row["split"] == "test"]
        write_csv(
            run.evaluation_dir("spring") / "records.csv", ["record_id", "path", "group", "source", "sha256"], rows
        )
    assert compare([run.path for run in stored], evaluation="spring").pairs[0].result.only_first == 7


def test_a_page_is_never_written_over(two, tmp_path):
    page = tmp_path / "page.html"
    comparison = compare(paths(*two), out=page)
    assert comparison.page == page
    with pytest.raises(OutputError, match="exists already"):
        compare(paths(*two), out=page)


def test_comparing_loads_no_torch(two):
    a, b = paths(*two)
    code = (
        f"import sys, foveal; foveal.compare([{str(a)!r}, {str(b)!r}], out={str(a.parent / 'p.html')!r});"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
