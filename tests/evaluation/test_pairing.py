"""Which images are compared: the same content, the same label, learnt by none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.evaluation.pairing import Answer, Answers, find_common, group_key


def answer(record_id: str, digest: str = "", label: str = "cat", predicted: str = "cat", group: str = "") -> Answer:
    return Answer(record_id, digest or f"content of {record_id}", group, label, predicted, 0.9)


def answers(*several: Answer, learnt: tuple[str, ...] = ()) -> Answers:
    return Answers(several, frozenset(learnt))


def ids(common):
    return [tuple(one.record_id for one in row) for row in common.rows]


def test_the_same_images_in_another_order_are_paired():
    common = find_common([answers(answer("1"), answer("2")), answers(answer("2", predicted="dog"), answer("1"))])
    assert sorted(ids(common)) == [("1", "1"), ("2", "2")]
    assert (common.learnt, common.alone, common.relabelled, common.renamed) == ((0, 0), (0, 0), 0, 0)
    assert common.same_images
    by_id = {row[0].record_id: row for row in common.rows}
    assert [one.right for one in by_id["2"]] == [True, False]


def test_an_image_that_one_tested_and_the_other_learnt_from_never_counts():
    first = answers(answer("1"), answer("2"), answer("3"), learnt=("content of 9",))
    second = answers(answer("2"), answer("9"), learnt=("content of 1", "content of 3"))
    common = find_common([first, second])
    assert ids(common) == [("2", "2")]
    assert common.learnt == (2, 1)
    assert common.alone == (0, 0)
    assert not common.same_images


def test_what_one_has_learnt_itself_does_not_count_either():
    first = answers(answer("1"), answer("2"), learnt=("content of 1",))
    common = find_common([first, answers(answer("1"), answer("2"))])
    assert ids(common) == [("2", "2")]
    assert common.learnt == (1, 1)


def test_a_group_that_was_learnt_does_not_count():
    first = answers(answer("1", group="P1"), answer("2", group="P2"), learnt=(group_key("P1"),))
    common = find_common([first, answers(answer("1", group="P1"), answer("2", group="P2"))])
    assert ids(common) == [("2", "2")]


def test_an_image_that_only_one_tested_is_counted():
    common = find_common([answers(answer("1"), answer("2")), answers(answer("2"))])
    assert ids(common) == [("2", "2")]
    assert common.alone == (1, 0)


def test_the_same_record_with_other_content_is_another_image():
    common = find_common([answers(answer("1", "old")), answers(answer("1", "new"))])
    assert common.n == 0
    assert common.alone == (1, 1)


def test_another_label_leaves_an_image_out():
    common = find_common(
        [answers(answer("1", label="cat"), answer("2")), answers(answer("1", label="dog"), answer("2"))]
    )
    assert ids(common) == [("2", "2")]
    assert common.relabelled == 1
    assert common.alone == (0, 0)


def test_moved_images_are_paired_by_content():
    common = find_common([answers(answer("a/1", "x")), answers(answer("b/1", "x"))])
    assert ids(common) == [("a/1", "b/1")]
    assert common.renamed == 1


def test_copies_are_paired_by_their_record_and_make_one_unit():
    first = answers(answer("1", "x"), answer("2", "x"), answer("3"))
    second = answers(answer("2", "x"), answer("3"), answer("1", "x"))
    common = find_common([first, second])
    assert sorted(ids(common)) == [("1", "1"), ("2", "2"), ("3", "3")]
    units = dict(zip([row[0].record_id for row in common.rows], common.units().tolist(), strict=True))
    assert units["1"] == units["2"] != units["3"]


def test_a_group_that_only_one_source_names_is_a_unit():
    first = answers(answer("1", group="P"), answer("2", group="P"), answer("3"))
    common = find_common([first, answers(answer("1"), answer("2"), answer("3"))])
    assert len(set(common.units().tolist())) == 2


@pytest.mark.parametrize("count", [2, 3, 5])
def test_every_count_adds_up(count):
    several = [
        answers(*(answer(str(i)) for i in range(j, 20 + j)), learnt=(f"content of {12 + j}",)) for j in range(count)
    ]
    common = find_common(several)
    for one, learnt, alone in zip(several, common.learnt, common.alone, strict=True):
        assert len(one.answers) == common.n + learnt + alone + common.relabelled


names = st.sampled_from("abcdefgh")


@given(st.lists(names, unique=True), st.lists(names, unique=True), st.sets(names), st.sets(names))
def test_what_is_paired_is_tested_by_both_and_learnt_by_neither(tested_1, tested_2, learnt_1, learnt_2):
    def run(tested, learnt):
        return answers(*map(answer, tested), learnt=tuple(f"content of {one}" for one in learnt))

    common = find_common([run(tested_1, learnt_1), run(tested_2, learnt_2)])
    assert {row[0].record_id for row in common.rows} == (set(tested_1) & set(tested_2)) - learnt_1 - learnt_2
