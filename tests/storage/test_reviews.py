"""Reviews: two people never overwrite each other, a signature signs once, the classifier's answer stays as it was."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select

from cases_made import CLASSES, make_case
from foveal.errors import UsageError
from foveal.storage.agreement import agreement_counts, review_counts
from foveal.storage.database import migrate, open_database
from foveal.storage.faults import UnfitError
from foveal.storage.problems import all_problems, close_problem, report_problem
from foveal.storage.reviews import ReviewConflictError, ReviewRefusedError, add_review, reviews_of, who_may_not
from foveal.storage.tables import cases, predictions, trail


def case_row(database, case_id):
    with database.read() as connection:
        return connection.execute(select(cases).where(cases.c.id == case_id)).mappings().one()


def sign(database, case_id, verdict="accept", version=0, reviewer="user:1", **more):
    with database.write() as connection:
        return add_review(connection, case_id=case_id, reviewer=reviewer, verdict=verdict, version=version, **more)


@pytest.fixture
def case_id(database):
    with database.write() as connection:
        return make_case(connection)


def answers(database):
    with database.read() as connection:
        return connection.execute(select(predictions)).mappings().all()


def test_a_text_that_only_sqlite_would_keep_is_refused_by_both_databases(database, case_id):
    """Else a backup of SQLite could not be restored into PostgreSQL."""
    for said in ({"reason": "a\0b"}, {"reason": "lateral", "request_key": "k\0"}):
        with pytest.raises(UnfitError):
            sign(database, case_id, "reject", **said)
    with pytest.raises(UnfitError), database.write() as connection:
        report_problem(connection, reporter="user:1", description="a\0b", case_id=case_id)
    assert case_row(database, case_id)["version"] == 0
    with database.read() as connection:
        assert all_problems(connection) == []


@pytest.mark.parametrize(
    "verdict, more, final",
    [
        ("accept", {}, "normal"),
        ("amend", {"label": "effusion", "reason": "left base"}, "effusion"),
        ("reject", {"reason": "a lateral view"}, None),
        ("second-opinion", {}, None),
    ],
)
def test_a_verdict_is_written_beside_the_answer(database, case_id, verdict, more, final):
    before, was = case_row(database, case_id), answers(database)
    review = sign(database, case_id, verdict, **more)
    after = case_row(database, case_id)
    assert (review.version, after["version"], after["review"], after["final_label"]) == (1, 1, verdict, final)
    assert answers(database) == was
    for column in ("leading", "probability", "abstained", "uncertainty", "prediction_id", "state", "urgency"):
        assert after[column] == before[column]
    with database.read() as connection:
        assert reviews_of(connection, case_id) == [review]
        row = connection.execute(select(trail).where(trail.c.kind == "reviewed")).mappings().one()
    assert (row["subject"], row["actor"]) == (case_id, "user:1")
    assert json.loads(row["body"])["review"] == review.id
    assert "lateral" not in row["body"]  # a reason may name a person


@pytest.mark.parametrize(
    "verdict, more, code",
    [
        ("accept", {"label": "effusion"}, "label_of_accept"),
        ("amend", {"label": "effusion"}, "needs_reason"),
        ("amend", {"label": "effusion", "reason": "  "}, "needs_reason"),
        ("amend", {"label": "efusion", "reason": "x"}, "unknown_label"),
        ("amend", {"reason": "x"}, "unknown_label"),
        ("amend", {"label": "normal", "reason": "x"}, "label_of_amend"),
        ("reject", {}, "needs_reason"),
        ("reject", {"reason": "x", "label": "normal"}, "label_not_asked"),
        ("reject", {"reason": "x" * 5000}, "reason_too_long"),
        ("maybe", {}, "unknown_verdict"),
        ("accept", {"version": 1}, "no_such_version"),
        ("accept", {"version": -1}, "no_such_version"),
    ],
)
def test_reviews_that_are_refused_leave_nothing(database, case_id, verdict, more, code):
    before = case_row(database, case_id)
    with pytest.raises(ReviewRefusedError) as refused:
        sign(database, case_id, verdict, **more)
    assert refused.value.code == code
    assert case_row(database, case_id) == before
    with database.read() as connection:
        assert connection.execute(select(trail)).first() is None


def test_what_is_not_answered_cannot_be_accepted_but_rejected(database):
    with database.write() as connection:
        case_id = make_case(connection, state="quarantined")
        erased = make_case(connection, state="erased")
    with pytest.raises(ReviewRefusedError) as refused:
        sign(database, case_id)
    assert refused.value.code == "needs_prediction"
    sign(database, case_id, "amend", label="effusion", reason="by eye", classes=CLASSES)
    sign(database, case_id, "reject", version=1, reason="no image")
    for wrong, code in ((erased, "erased"), ("nothing", "no_case")):
        with pytest.raises(ReviewRefusedError) as refused:
            sign(database, wrong, "reject", reason="x")
        assert refused.value.code == code


def test_the_second_of_two_reviewers_gets_what_the_first_said(database, case_id):
    first = sign(database, case_id)
    with pytest.raises(ReviewConflictError) as conflict:
        sign(database, case_id, "amend", reviewer="user:2", label="effusion", reason="no")
    assert conflict.value.newer == (first,)
    assert conflict.value.version == 1
    sign(database, case_id, "amend", version=1, reviewer="user:2", label="effusion", reason="no")
    assert case_row(database, case_id)["final_label"] == "effusion"


def test_a_signature_that_is_sent_again_signs_once_even_after_others_signed(database, case_id):
    first = sign(database, case_id, request_key="k")
    sign(database, case_id, "reject", version=1, reviewer="user:2", reason="x")
    assert sign(database, case_id, request_key="k") == first
    with pytest.raises(ReviewRefusedError) as refused:
        sign(database, case_id, "reject", reason="x", request_key="k")
    assert refused.value.code == "request_key_reused"
    other = sign(database, case_id, version=2, reviewer="user:2", request_key="k")  # another person's key
    assert other.version == 3


def test_a_second_opinion_comes_from_another_person_than_who_asked_and_who_signed_before(database, case_id):
    sign(database, case_id, reviewer="user:1")
    sign(database, case_id, "second-opinion", version=1, reviewer="user:2")
    with database.read() as connection:
        assert who_may_not(connection, case_id) == {"user:1", "user:2"}
    for same in ("user:1", "user:2"):
        with pytest.raises(ReviewRefusedError) as refused:
            sign(database, case_id, version=2, reviewer=same)
        assert refused.value.code == "same_person"
    assert case_row(database, case_id)["final_label"] == "normal"  # what was said stands until then
    sign(database, case_id, "reject", version=2, reviewer="user:3", reason="x")
    assert case_row(database, case_id)["final_label"] is None
    sign(database, case_id, version=3, reviewer="user:1")


def test_eight_people_at_the_same_moment_make_one_review(database, case_id):
    outcomes, ready = [], threading.Barrier(8)

    def review(number):
        ready.wait()
        try:
            outcomes.append(sign(database, case_id, reviewer=f"user:{number}"))
        except ReviewConflictError as conflict:
            outcomes.append(conflict)

    threads = [threading.Thread(target=review, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    conflicts = [one for one in outcomes if isinstance(one, ReviewConflictError)]
    assert len(outcomes) == 8
    assert len(conflicts) == 7
    (made,) = [one for one in outcomes if not isinstance(one, ReviewConflictError)]
    assert all(conflict.newer == (made,) for conflict in conflicts)


def test_one_signature_sent_eight_times_at_the_same_moment_signs_once(database, case_id):
    outcomes, ready = [], threading.Barrier(8)

    def review():
        ready.wait()
        outcomes.append(sign(database, case_id, request_key="one"))

    threads = [threading.Thread(target=review) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 8
    assert len(set(outcomes)) == 1


def test_counts_take_the_newest_verdict_of_each_case(database):
    with database.write() as connection:
        ids = [make_case(connection) for _ in range(4)]
        doubtful = make_case(connection, abstained="out of domain")
        make_case(connection)
    sign(database, ids[0])
    sign(database, ids[1])
    sign(database, ids[1], "amend", version=1, label="effusion", reason="x")
    sign(database, ids[2], "reject", reason="x")
    sign(database, ids[2], "second-opinion", version=1, reviewer="user:2")  # the rejection stands
    sign(database, ids[3], "second-opinion")
    sign(database, doubtful)
    with database.read() as connection:
        counted = agreement_counts(connection)
        counts = {(one.abstained, one.verdict, one.label): one.cases for one in counted}
        assert agreement_counts(connection, classifier_hash="other") == []
        assert agreement_counts(connection, since=2**60) == []
        assert review_counts(connection) == {"accept": 2, "amend": 1, "second-opinion": 2, "unreviewed": 1}
    assert counts == {
        (False, "accept", "normal"): 1,
        (False, "amend", "effusion"): 1,
        (False, "reject", None): 1,
        (True, "accept", "normal"): 1,
    }
    assert {one.week % (7 * 86_400_000_000) for one in counted} == {4 * 86_400_000_000}  # Mondays


def test_a_problem_is_reported_once_and_answered(database, case_id):
    with database.write() as connection:
        problem = report_problem(connection, reporter="user:1", description=" the map is upside down ", case_id=case_id)
        report_problem(connection, reporter="guest", description="slow")
        with pytest.raises(UsageError, match="no such case"):
            report_problem(connection, reporter="guest", description="slow", case_id="x")
    assert problem.prediction_id == case_row(database, case_id)["prediction_id"]
    with database.write() as connection:
        close_problem(connection, problem.id, "turned", actor="user:2")
        with pytest.raises(UsageError):
            close_problem(connection, problem.id, "again", actor="user:2")
    with database.read() as connection:
        assert [(one.description, one.state) for one in all_problems(connection)] == [
            ("slow", "open"),
            ("the map is upside down", "closed"),
        ]
        assert len(all_problems(connection, case_id=case_id)) == 1
        assert "upside" not in "".join(connection.execute(select(trail.c.body)).scalars())


@dataclass(frozen=True)
class Sent:
    reviewer: str
    version: int
    verdict: str
    label: str | None
    reason: str | None
    key: str


class Reviewing(RuleBasedStateMachine):
    """Two reviewers who look, sign what they saw, and send again what they sent, against a list in memory."""

    people = ("user:1", "user:2")

    @initialize()
    def start(self):
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.database = open_database(f"sqlite:///{self.folder.name}/foveal.db")
        migrate(self.database)
        with self.database.write() as connection:
            self.case_id = make_case(connection)
        self.made: list[Sent] = []
        self.sent: list[tuple[Sent, int]] = []  # with the version that it made
        self.seen = dict.fromkeys(self.people, 0)

    def teardown(self):
        self.database.close()
        self.folder.cleanup()

    def barred(self) -> set[str]:
        if not self.made or self.made[-1].verdict != "second-opinion":
            return set()
        found = set()
        for one in reversed(self.made):
            found.add(one.reviewer)
            if one.verdict != "second-opinion":
                break
        return found

    def post(self, sent: Sent):
        return sign(
            self.database, self.case_id, sent.verdict, version=sent.version, reviewer=sent.reviewer, label=sent.label,
            reason=sent.reason, request_key=sent.key,
        )  # fmt: skip

    @rule(person=st.sampled_from(people))
    def look(self, person):
        self.seen[person] = len(self.made)

    @rule(
        person=st.sampled_from(people),
        verdict=st.sampled_from(["accept", "amend", "reject", "second-opinion"]),
        label=st.sampled_from([None, *CLASSES[1:]]),
        reason=st.sampled_from([None, "because"]),
    )
    def review(self, person, verdict, label, reason):
        label = label if verdict == "amend" else None
        sent = Sent(person, self.seen[person], verdict, label, reason, f"key {len(self.sent)} {verdict} {person}")
        valid = (verdict not in ("amend", "reject") or reason) and (verdict != "amend" or label)
        try:
            review = self.post(sent)
        except ReviewConflictError as conflict:
            assert sent.version < len(self.made)
            assert [one.request_key for one in conflict.newer] == [one.key for one in self.made[sent.version :]]
            return
        except ReviewRefusedError:
            assert not valid or person in self.barred()
            return
        assert valid
        assert sent.version == len(self.made)
        assert person not in self.barred()
        self.made.append(sent)
        assert review.version == len(self.made)
        self.sent.append((sent, review.version))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def send_again(self, data):
        sent, version = data.draw(st.sampled_from(self.sent))
        assert self.post(sent).version == version

    @invariant()
    def nothing_is_lost_doubled_or_overwritten(self):
        with self.database.read() as connection:
            stored = reviews_of(connection, self.case_id)
            case = connection.execute(select(cases)).mappings().one()
            signed = connection.execute(select(trail).where(trail.c.kind == "reviewed")).mappings().all()
        assert [one.request_key for one in stored] == [one.key for one in self.made]
        assert [one.version for one in stored] == list(range(1, len(self.made) + 1))
        assert case["version"] == len(self.made) == len(signed)
        assert case["leading"] == "normal"
        deciding = [one for one in self.made if one.verdict != "second-opinion"]
        final = None
        if deciding and deciding[-1].verdict != "reject":
            final = deciding[-1].label or "normal"
        assert case["final_label"] == final
        assert case["review"] == (self.made[-1].verdict if self.made else None)


TestReviewing = Reviewing.TestCase
TestReviewing.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
