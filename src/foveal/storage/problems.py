"""Problems that people report, of a case or of the service as a whole, and how they were answered."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, select

from foveal.errors import UsageError
from foveal.storage import trail
from foveal.storage.faults import refuse_nul
from foveal.storage.ids import new_id, now_us
from foveal.storage.tables import cases, problems

LONGEST = 8000


@dataclass(frozen=True)
class Problem:
    """What somebody found wrong."""

    id: str
    case_id: str | None
    prediction_id: str | None
    made_at: int
    reporter: str
    description: str
    state: str
    answer: str | None


def report_problem(connection: Connection, *, reporter: str, description: str, case_id: str | None = None) -> Problem:
    """Write down a problem in the caller's write transaction; UsageError for an empty one or an unknown case."""
    description = _checked(description, "A problem")
    prediction_id = None
    if case_id is not None:
        row = connection.execute(select(cases.c.prediction_id).where(cases.c.id == case_id)).first()
        if row is None:
            raise UsageError("There is no such case.")
        prediction_id = row.prediction_id
    problem = Problem(new_id(), case_id, prediction_id, now_us(), reporter, description, "open", None)
    connection.execute(problems.insert().values(**vars(problem)))
    body = {"case": case_id, "prediction": prediction_id}
    trail.append(connection, [trail.Event("problem-reported", reporter, problem.id, body)])
    return problem


def close_problem(connection: Connection, problem_id: str, answer: str, *, actor: str) -> None:
    """Close a problem with an answer; UsageError where it is unknown or closed already."""
    answer = _checked(answer, "An answer")
    closed = connection.execute(
        problems.update()
        .where(problems.c.id == problem_id, problems.c.state == "open")
        .values(state="closed", answer=answer)
    )
    if not closed.rowcount:
        raise UsageError("There is no such open problem.")
    trail.append(connection, [trail.Event("problem-closed", actor, problem_id, {})])


def all_problems(connection: Connection, *, case_id: str | None = None, limit: int = 200) -> list[Problem]:
    """Return problems, open ones first, then the newest."""
    query = select(problems).order_by(problems.c.state.desc(), problems.c.made_at.desc(), problems.c.id).limit(limit)
    if case_id is not None:
        query = query.where(problems.c.case_id == case_id)
    return [_problem(row) for row in connection.execute(query).mappings()]


def _checked(text: str, what: str) -> str:
    text = text.strip()
    refuse_nul(text)
    if not 1 <= len(text) <= LONGEST:
        raise UsageError(f"{what} is described in 1 to {LONGEST} characters.")
    return text


def _problem(row: RowMapping) -> Problem:
    return Problem(**{name: row[name] for name in Problem.__dataclass_fields__})
