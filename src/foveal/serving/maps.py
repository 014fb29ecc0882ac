"""Heat maps and pictures of cases: made when they are first asked for, in child processes, and kept."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from foveal.errors import ClassifierError, ResourceError, UsageError
from foveal.preprocess import Preprocess
from foveal.serving.children.decoding import Decoded
from foveal.serving.children.explaining import Explainer
from foveal.serving.intake import SERVICE
from foveal.serving.refusal import Refusal, overloaded
from foveal.serving.writing import Change
from foveal.storage import tables
from foveal.storage.cases import ERASED, Case, find_case
from foveal.storage.ids import new_id, now_us
from foveal.storage.trail import Event

if TYPE_CHECKING:
    from foveal.serving.service import Service

MEMORY_MIB = 16_384  # of address space, most of which torch never touches
MOST_WAITING = 16
MOST_PICTURES = 32


@dataclass(frozen=True, eq=False)
class Map:
    """A heat map: a grey PNG in the picture's own frame, and what it is."""

    png: bytes
    facts: dict[str, Any]


class Maps:
    """Gives maps and pictures: kept ones, and new ones from the explainer and the decoders."""

    def __init__(self, service: Service) -> None:
        """Make them for the cases of `service`."""
        self._service = service
        self._explainer = Explainer(MEMORY_MIB)
        self._pictures = 0  # that wait; each is held in memory
        self._under_way: dict[tuple[str, str, str, bool], asyncio.Task[Map]] = {}

    async def picture(self, case_id: str, longest_side: int | None) -> bytes:
        """Return the case's image as a PNG, as a viewer shows it; Refusal where it is not kept, or too many wait."""
        if self._pictures >= MOST_PICTURES:
            raise overloaded("Too many pictures wait; ask again.", 2)
        self._pictures += 1
        try:
            case = await asyncio.to_thread(self._case, case_id)
            content = await asyncio.to_thread(self._service.blobs.get, _kept(case))
            return await self._service.decoders.picture(content, longest_side)
        finally:
            self._pictures -= 1

    async def map_of(self, case_id: str, method: str, target: str | None, actor: str, *, judged: bool = False) -> Map:
        """Return the map of `target`, the leading class where it is None, by `method`; made unless it is kept.

        With `judged` it is measured, too, and its facts say what speaks against it.

        Raises Refusal: 404 for a case that is not there, 409 for one without answer, image or classifier, 422 for a
        method or class that does not suit, 503 where too many wait.
        """
        case = await asyncio.to_thread(self._case, case_id)
        if case.prediction is None:
            raise Refusal(409, "no_answer", "The case has no answer yet that could be explained.")
        target = target or case.prediction["leading"]
        key = (case.prediction["id"], method, target, judged)
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= MOST_WAITING:
                raise overloaded("Too many heat maps wait; ask again.", 5)
            task = asyncio.create_task(self._found_or_made(case, method, target, actor, judged))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(task)

    async def stop(self) -> None:
        """End what runs."""
        for task in list(self._under_way.values()):
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        await self._explainer.stop()

    async def _found_or_made(self, case: Case, method: str, target: str, actor: str, judged: bool) -> Map:
        kept = await asyncio.to_thread(self._kept_map, case, method, target)
        if kept is not None and (kept.facts["measured"] or not judged):
            return kept
        assert case.prediction is not None
        content = await asyncio.to_thread(self._service.blobs.get, _kept(case))
        path, preprocess = await asyncio.to_thread(self._classifier, case.prediction["classifier_hash"])
        decoded = await self._service.decoders.decode(content, preprocess, int(self._service.settings.max_megapixels))
        started = time.perf_counter()
        made = await self._made(decoded, Path(path), case.prediction["classifier_hash"], method, target, judged)
        self._service.metrics.stage("explain", time.perf_counter() - started)
        await self._keep(case, made, actor)
        return made

    async def _made(self, decoded: Decoded, path: Path, digest: str, method: str, target: str, judged: bool) -> Map:
        try:
            found = await self._explainer.explain(decoded, path, digest, method=method, target=target, judged=judged)
        except ClassifierError:
            raise Refusal(409, "unexplained", "The classifier that answered is gone or was changed.") from None
        except UsageError as error:
            raise Refusal(422, "unexplained", str(error)) from None
        except ResourceError as error:
            raise Refusal(503, "explainer_failed", str(error), retry_after_s=5) from None
        return Map(found.png, {**found.facts, "target": target, "measured": judged})

    async def _keep(self, case: Case, made: Map, actor: str) -> None:
        """Keep the map, its facts, and a row of the trail; another process may have been faster.

        Refusal where the case was erased meanwhile: nothing of it is kept any more.
        """
        assert case.prediction is not None
        digest = hashlib.sha256(made.png).hexdigest()
        facts = made.facts
        row = {
            "id": new_id(), "case_id": case.case["id"], "prediction_id": case.prediction["id"], "made_at": now_us(),
            "method": facts["method"], "target": facts["target"], "map_sha256": digest,
            "facts": json.dumps(facts, ensure_ascii=False),
        }  # fmt: skip
        body = {"prediction": row["prediction_id"], "method": row["method"], "target": row["target"], "map": digest}
        c = tables.explanations.c

        def replace(connection: Connection) -> None:
            of_case = select(tables.cases.c.state).where(tables.cases.c.id == row["case_id"]).with_for_update()
            if connection.execute(of_case).scalar() == ERASED:
                raise _erased()
            connection.execute(
                tables.explanations.delete().where(
                    c.prediction_id == row["prediction_id"], c.method == row["method"], c.target == row["target"]
                )
            )
            connection.execute(tables.explanations.insert().values(**row))

        event = Event("explained", actor or SERVICE, case.case["id"], body)
        await self._service.writer.write(Change(events=[event], blobs=[made.png], apply=replace))

    def _kept_map(self, case: Case, method: str, target: str) -> Map | None:
        assert case.prediction is not None
        c = tables.explanations.c
        wanted = select(c.map_sha256, c.facts, c.method).where(
            c.prediction_id == case.prediction["id"], c.target == target
        )
        with self._service.database.read() as connection:
            rows = connection.execute(wanted).all()
        plain = _plain(method)
        for row in rows:
            if _plain(row.method) == plain:
                return Map(self._service.blobs.get(row.map_sha256), json.loads(row.facts))
        return None

    def _classifier(self, digest: str) -> tuple[str, Preprocess]:
        """Return where the classifier lies, and its preprocessing; the one that serves is asked where it lies here."""
        serving = self._service.served
        if serving.hash == digest:
            return str(serving.path.resolve()), serving.preprocess
        c = tables.classifiers.c
        with self._service.database.read() as connection:
            row = connection.execute(select(c.path, c.card).where(c.hash == digest)).first()
        if row is None:
            raise Refusal(409, "unexplained", "The classifier that answered is not known here.")
        return row.path, Preprocess.from_dict(json.loads(row.card)["preprocess"])

    def _case(self, case_id: str) -> Case:
        with self._service.database.read() as connection:
            found = find_case(connection, case_id)
        if found is None:
            raise Refusal(404, "no_case", "There is no case with this id.")
        return found


def _kept(case: Case) -> str:
    """Return the name of the case's image; Refusal where it was erased."""
    if not case.image["kept"]:
        raise _erased()
    return str(case.image["sha256"])


def _erased() -> Refusal:
    return Refusal(410, "erased", "The image of this case was erased.")


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")
