"""One case: the image, what the classifier says of it and how sure it is, and what people said."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from sqlalchemy import Connection, RowMapping

from foveal.serving.http.identity import Caller
from foveal.serving.pages.arriving import viewer
from foveal.serving.pages.frame import PageRoute, show
from foveal.serving.pages.worklist import WantedHere, query_of
from foveal.serving.refusal import Refusal
from foveal.storage.accounts import actor_names
from foveal.storage.cases import Case, classifier_names, find_case
from foveal.storage.ids import PATTERN
from foveal.storage.problems import all_problems
from foveal.storage.reviews import Review, reviews_of, who_may_not
from foveal.storage.worklist import Wanted, earlier_results, kept_maps, neighbours
from foveal.web.svg import printable

router = APIRouter(route_class=PageRoute, include_in_schema=False)

CaseId = Annotated[str, Path(pattern=PATTERN)]
METHODS = (  # name, title: those of foveal.explanation that a person waits for
    ("gradcam", "Grad-CAM"),
    ("gradcam++", "Grad-CAM++"),
    ("hirescam", "HiResCAM"),
    ("layercam", "Layer-CAM"),
    ("eigencam", "Eigen-CAM"),
    ("occlusion", "Occlusion"),
    ("integrated-gradients", "Integrated gradients"),
    ("smoothgrad", "SmoothGrad"),
)
_THRESHOLD = re.compile(r"(?s)(.*) from a probability of ([0-9.e+-]+) \(")


@dataclass(frozen=True)
class Answer:
    """What the classifier says, as the page shows it."""

    leading: str
    probability: float
    abstained: str | None
    bars: Sequence[tuple[str, float]]  # the most probable first
    prediction_set: Sequence[str] | None
    uncertainty: float
    threshold: str | None
    marked: tuple[str, float] | None  # the class that is decided at a threshold, and the threshold
    preprocessing: Mapping[str, Any]
    classifier: str
    row: RowMapping


@dataclass(frozen=True)
class Draft:
    """What a reviewer wrote and could not sign, to be written on."""

    verdict: str = ""
    label: str = ""
    reason: str = ""
    said: str = ""  # why it was not signed
    newer: Sequence[Review] = ()  # what others signed meanwhile


@router.get("/cases/{case_id}")
def case_page(
    request: Request,
    case_id: CaseId,
    wanted: WantedHere,
    caller: Annotated[Caller, Depends(viewer("read"))],
    signed: str = "",
) -> Response:
    """Show a case."""
    return show_case(request, case_id, wanted, caller, signed=signed)


def show_case(
    request: Request,
    case_id: str,
    wanted: Wanted,
    caller: Caller,
    *,
    draft: Draft | None = None,
    status: int = 200,
    signed: str = "",
) -> Response:
    """Return the page of a case, with a `draft` that could not be signed where there is one."""
    with request.app.state.service.database.read() as connection:
        found = find_case(connection, case_id)
        if found is None:
            raise Refusal(404, "no_case", "There is no case with this id.")
        made = reviews_of(connection, case_id)
        before, behind = neighbours(connection, wanted, case_id)
        problems = all_problems(connection, case_id=case_id)
        barred = who_may_not(connection, case_id)
        actors = {found.case["sender"], *(one.reviewer for one in made), *(one.reporter for one in problems)}
        names = actor_names(connection, actors)
        answer = _answer(found, classifier_names(connection))
        earlier = earlier_results(connection, case_id)
        maps = [] if answer is None else kept_maps(connection, found.case["prediction_id"])
        just_signed = _signed(connection, signed, caller)
    return show(
        request,
        "case.html.jinja",
        caller,
        title=f"Case {case_id[-6:]}",
        status=status,
        scripts=("htmx.min", "viewer", "signing"),
        case=found.case,
        image=found.image,
        answer=answer,
        reviews=made[::-1],
        problems=problems,
        names=names,
        earlier=earlier,
        maps=maps,
        methods=METHODS,
        before=before,
        behind=behind,
        query=query_of(wanted),
        may_sign=caller.may("review") and found.case["state"] != "erased" and caller.actor not in barred,
        barred=caller.actor in barred,
        draft=draft or Draft(),
        request_key=secrets.token_hex(16),
        just_signed=just_signed,
    )


def _signed(connection: Connection, case_id: str, caller: Caller) -> Review | None:
    """Return the caller's newest review of the case that they come from."""
    if not case_id:
        return None
    own = [one for one in reviews_of(connection, case_id) if one.reviewer == caller.actor]
    return own[-1] if own else None


def _answer(found: Case, names: Mapping[str, str]) -> Answer | None:
    row = found.prediction
    if row is None:
        return None
    shares: dict[str, float] = json.loads(row["probabilities"])
    threshold = _THRESHOLD.match(row["threshold"] or "")
    marked = (threshold[1], float(threshold[2])) if threshold and threshold[1] in shares else None
    return Answer(
        leading=row["leading"],
        probability=row["probability"],
        abstained=row["abstained"],
        bars=sorted(shares.items(), key=lambda one: -one[1]),
        prediction_set=None if row["prediction_set"] is None else json.loads(row["prediction_set"]),
        uncertainty=row["uncertainty"],
        threshold=row["threshold"],
        marked=marked,
        preprocessing=json.loads(row["preprocessing"]),
        classifier=printable(names.get(row["classifier_hash"], "")),
        row=row,
    )
