"""The worklist: urgent before unsure before plain, and whoever waits rises."""

from __future__ import annotations

import pytest

from cases_made import make_case
from foveal.storage.ids import now_us
from foveal.storage.worklist import DAY_US, VIEWS, Wanted, earlier_results, neighbours, page_of, shares_of, view_counts

NOW = now_us()


@pytest.fixture
def made(database):
    hour = DAY_US // 24
    with database.write() as connection:
        return {
            "urgent": make_case(connection, urgency=1.0, received_at=NOW),
            "plain, long ago": make_case(connection, urgency=0.1, received_at=NOW - 22 * hour),
            "unsure": make_case(connection, urgency=0.5, received_at=NOW, abstained="noise", subject="P-17%"),
            "plain": make_case(connection, urgency=0.1, received_at=NOW, subject="p-170"),
            "accepted": make_case(connection, urgency=1.0, review="accept", version=1),
            "asked": make_case(connection, urgency=0.0, received_at=NOW, review="second-opinion", version=1),
            "waiting": make_case(connection, state="waiting"),
            "held": make_case(connection, state="quarantined"),
            "gone": make_case(connection, state="erased", review="accept", version=1),
        }


def names(made, ids):
    told = {case_id: name for name, case_id in made.items()}
    return [told[case_id] for case_id in ids]


def shown(database, made, limit=50, after=None, **wanted):
    with database.read() as connection:
        rows = page_of(connection, Wanted(**wanted), limit=limit, after=after)
    return names(made, [row["id"] for row in rows])


def test_the_order_of_open_cases(database, made):
    assert shown(database, made) == ["plain, long ago", "urgent", "unsure", "plain", "asked"]


def test_pages_follow_each_other_without_a_gap(database, made):
    whole, after, seen = shown(database, made), None, []
    while found := shown(database, made, limit=2, after=after):
        seen += found
        after = made[found[-1]]
    assert seen == whole


def test_what_an_answer_gives_to_some_classes_together(database):
    with database.write() as connection:
        sure = make_case(connection, probabilities={"normal": 0.9, "effusion": 0.06, "pneumonia": 0.04})
        torn = make_case(connection, probabilities={"normal": 0.4, "effusion": 0.35, "pneumonia": 0.25})
        make_case(connection, state="quarantined")
        rows = page_of(connection, Wanted("all"))
        assert shares_of(connection, rows, ["effusion", "pneumonia"]) == {
            sure: pytest.approx(0.1),
            torn: pytest.approx(0.6),
        }
        assert shares_of(connection, rows, []) == shares_of(connection, [], ["effusion"]) == {}


def test_neighbours_are_those_of_the_list_even_of_a_case_that_left_it(database, made):
    with database.read() as connection:
        order = [row["id"] for row in page_of(connection, Wanted())]
        for at, case_id in enumerate(order):
            before = order[at - 1] if at else None
            behind = order[at + 1] if at + 1 < len(order) else None
            assert neighbours(connection, Wanted(), case_id) == (before, behind)
        assert neighbours(connection, Wanted(), made["accepted"])[1] is not None
        assert neighbours(connection, Wanted(), "nothing") == (None, None)


def test_filters(database, made):
    assert shown(database, made, abstained=True) == ["unsure"]
    assert shown(database, made, verdict="second-opinion") == ["asked"]
    assert shown(database, made, leading="effusion") == []
    assert shown(database, made, subject="P-17%") == ["unsure"]  # the % is a letter like others
    assert shown(database, made, subject="P-17") == ["unsure", "plain"]
    assert shown(database, made, view="reviewed") == ["accepted"]
    assert shown(database, made, view="waiting") == ["waiting"]
    assert shown(database, made, view="quarantined") == ["held"]


def test_counts_are_those_of_the_views(database, made):
    with database.read() as connection:
        counts = view_counts(connection)
        assert counts == {view: len(page_of(connection, Wanted(view))) for view in VIEWS}
    assert counts["all"] == len(made)


def test_earlier_results_are_of_the_same_subject_or_image(database):
    with database.write() as connection:
        case_id = make_case(connection, subject="P-1", sha256="1" * 64)
        same_person = make_case(connection, subject="P-1", sha256="2" * 64)
        same_image = make_case(connection, subject="P-2", sha256="1" * 64)
        make_case(connection, subject="P-3", sha256="3" * 64)
        nobody = make_case(connection, sha256="4" * 64)
        make_case(connection, sha256="5" * 64)
    with database.read() as connection:
        found = {row["id"]: bool(row["same_image"]) for row in earlier_results(connection, case_id)}
        assert found == {same_person: False, same_image: True}
        assert earlier_results(connection, nobody) == []  # two cases without a subject are not of one person
