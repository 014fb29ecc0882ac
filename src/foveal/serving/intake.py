"""An image's way through the service: decoded in a child, answered in a batch, kept, and only then acknowledged.

Two ways lead through here. *At once*: the request waits; its case, answer and trail are committed together before
the response. *Later*: the image is on disk and its case and job are committed before it is acknowledged; a worker
takes the job, and its effects are committed in one transaction with the job's end, so they happen once.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from foveal.classifier.answers import Said
from foveal.errors import FovealError, StorageError
from foveal.serving.answer import answer_json, stored_answer
from foveal.serving.children.decoding import Decoded, Decoders
from foveal.serving.children.refused_image import RefusedImageError
from foveal.serving.current import Current, Use
from foveal.serving.metrics import Metrics
from foveal.serving.refusal import Refusal, overloaded
from foveal.serving.writing import Change, Writer
from foveal.storage import cases, jobs, tables
from foveal.storage.blobs import Blobs
from foveal.storage.cases import Case, Predicted, Received
from foveal.storage.database import Database
from foveal.storage.faults import BusyError, FullError, LeaseLostError
from foveal.storage.ids import new_id, now_us
from foveal.storage.trail import Event

COUNTED_S = 1.0
SERVICE = "service"  # the actor of what the service does by itself


@dataclass(frozen=True, eq=False)
class Sent:
    """An image as it was sent."""

    content: bytes
    name: str | None = None


@dataclass(frozen=True)
class Sender:
    """Who sends, through what, of whom, and under which idempotency key."""

    actor: str
    via: str
    subject: str | None = None
    key: str | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one image: an answer, or a refusal; `case_id` also of one that was put into quarantine."""

    case_id: str | None
    answer: dict[str, Any] | None = None
    refused: RefusedImageError | None = None


class Intake:
    """Takes images in."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        writer: Writer,
        decoders: Decoders,
        current: Current,
        metrics: Metrics,
        *,
        max_megapixels: int,
        max_queue: int,
        urgent: Sequence[str] = (),
    ) -> None:
        self._database, self._blobs, self._writer = database, blobs, writer
        self._decoders, self._current, self._metrics = decoders, current, metrics
        self._max_megapixels, self._urgent = max_megapixels, frozenset(urgent)
        self._in_flight: set[tuple[str, str]] = set()  # senders with their keys
        self._max_queue, self._queued = max_queue, (0.0, 0)
        self.new_jobs = asyncio.Event()

    async def answer_now(self, sent: Sequence[Sent], sender: Sender) -> list[Outcome]:
        """Return what the classifier says of each image, when all of it is kept.

        Raises Refusal for an idempotency key that was used for other images, and StorageError when nothing could
        be kept.
        """
        if sender.key is None:
            return await self._answer_all(sent, sender)
        digest = _request_hash(sent, sender, "now")
        if before := await self._before(sender, digest):
            return before
        claim = (sender.actor, sender.key)
        if claim in self._in_flight:
            raise Refusal(
                409, "in_flight", "A request with this Idempotency-Key is being answered; ask again.", retry_after_s=1
            )
        self._in_flight.add(claim)
        try:
            return await self._answer_all(sent, sender, digest)
        except StorageError:
            if before := await self._before(sender, digest):  # another process was first
                return before
            raise
        finally:
            self._in_flight.discard(claim)

    async def receive(self, sent: Sequence[Sent], sender: Sender) -> list[str]:
        """Keep the images with a job each, and return the ids of their cases; they are answered later.

        Raises as `answer_now`.
        """
        digest = _request_hash(sent, sender, "later")
        if sender.key is not None and (known := await asyncio.to_thread(self._known, sender, digest)):
            return known
        await self._refuse_long_queue()
        at = now_us()
        new = [_received(one, sender, at) for one in sent]
        case_ids = [one.case_id for one in new]

        def add_jobs(connection: Connection) -> None:
            for case_id in case_ids:
                jobs.add(connection, "predict", case_id)

        rows = [row for one in new for row in cases.insert_waiting(one)]
        rows += _key_row(sender, digest, case_ids, at)
        change = Change(rows, [one.event() for one in new], [one.content for one in sent], add_jobs)
        try:
            await self._writer.write(change)
        except StorageError:
            if sender.key is not None and (known := await asyncio.to_thread(self._known, sender, digest)):
                return known
            raise
        self.new_jobs.set()
        return case_ids

    async def work(self, job: jobs.Job) -> None:
        """Do one job of the queue: read the image, answer, and commit the answer with the job's end.

        Raises BusyError or FullError where the store is away: the job is to be given back.
        """
        try:
            case = await asyncio.to_thread(self._case, job.case_id)
            if case is None or case.case["state"] != cases.WAITING:
                await self._writer.write(Change(apply=lambda connection: jobs.finish(connection, job)))
                return
            content = await asyncio.to_thread(self._blobs.get, case.image["sha256"])
            with self._current.held() as use:
                predicted, form = await self._predict(content, case.image["sha256"], job.case_id, case.image["id"], use)
        except RefusedImageError as error:
            self._metrics.refusal(error.code)
            reason = f"{error.code}: {error.reason}"
            await asyncio.to_thread(jobs.fail, self._database, job, reason, retry=error.poison)
            return
        except (BusyError, FullError):
            raise  # of the store, and no fault of the job's
        except FovealError as error:  # its words may hold a path, and people read the reason
            reason = f"it could not be answered ({type(error).__name__})"
            await asyncio.to_thread(jobs.fail, self._database, job, reason, retry=True)
            return

        def keep(connection: Connection) -> None:
            jobs.finish(connection, job)
            cases.answer_waiting(connection, predicted, form, self._urgency(predicted))

        try:
            await self._writer.write(Change(events=[predicted.event(SERVICE)], apply=keep))
        except LeaseLostError:
            return  # another worker has it: nothing of this was kept
        self._count(predicted.leading, predicted.abstained)

    async def _answer_all(self, sent: Sequence[Sent], sender: Sender, digest: str = "") -> list[Outcome]:
        at = now_us()
        new = [_received(one, sender, at) for one in sent]
        with self._current.held() as use:
            if len(sent) == 1:
                results: list[Any] = [await self._tried(sent[0], new[0], use)]
            else:
                results = await asyncio.gather(*(self._tried(*pair, use) for pair in zip(sent, new, strict=True)))
            name = use.served.name
        rows: cases.Rows = []
        events: list[Event] = []
        kept: list[bytes] = []
        outcomes = []
        for image, received, result in zip(sent, new, results, strict=True):
            if isinstance(result, RefusedImageError):
                outcomes.append(self._refuse(received, result, rows, events))
                kept += [image.content] if result.poison else []
                continue
            predicted, form = result
            rows += cases.insert_answered(received, predicted, form, self._urgency(predicted))
            events += [received.event(), predicted.event(SERVICE)]
            kept.append(image.content)
            outcomes.append(Outcome(received.case_id, answer_json(received, predicted, form, name=name)))
        rows += _key_row(sender, digest, [_remembered(one) for one in outcomes], at)
        await self._writer.write(Change(rows, events, kept))
        for one in outcomes:
            if one.answer is not None:
                self._count(one.answer["leading"], one.answer["abstained"])
        return outcomes

    async def _tried(
        self, sent: Sent, received: Received, use: Use
    ) -> tuple[Predicted, dict[str, Any]] | RefusedImageError:
        try:
            return await self._predict(sent.content, received.sha256, received.case_id, received.image_id, use)
        except RefusedImageError as error:
            self._metrics.refusal(error.code)
            return error

    async def _predict(
        self, content: bytes, sha256: str, case_id: str, image_id: str, use: Use
    ) -> tuple[Predicted, dict[str, Any]]:
        """Return what is said of one image, and its format, width and height."""
        started = time.perf_counter()
        served = use.served
        decoded = await self._decoders.decode(content, served.preprocess, self._max_megapixels)
        self._metrics.stage("decode", time.perf_counter() - started)
        answered = await use.batcher.answer(decoded.pixels)
        self._metrics.stage("infer", answered.took_ms / 1000)
        self._metrics.batch(answered.batch)
        predicted = _predicted(
            decoded, answered.said, use, case_id, image_id, sha256, 1000 * (time.perf_counter() - started)
        )
        return predicted, {"format": decoded.format, "width": decoded.width, "height": decoded.height}

    def _refuse(self, received: Received, error: RefusedImageError, rows: cases.Rows, events: list[Event]) -> Outcome:
        """Note a refused image in the trail; one that killed its decoder is kept, in quarantine."""
        body = {"sha256": received.sha256, "size": received.size, "code": error.code}
        if not error.poison:
            events.append(Event("refused", received.sender, received.case_id, body))
            return Outcome(None, refused=error)
        held = {**received.case(), "state": cases.QUARANTINED, "reason": f"{error.code}: {error.reason}"}
        rows += [(tables.cases, held), (tables.images, received.image())]
        events += [received.event(), Event("quarantined", SERVICE, received.case_id, body)]
        return Outcome(received.case_id, refused=error)

    def _urgency(self, predicted: Predicted) -> float:
        """Return how soon somebody should look, 0 to 1: at an abstention first, then at urgent and at unsure ones."""
        if predicted.abstained:
            return 1.0
        urgent = sum(p for name, p in predicted.probabilities.items() if name in self._urgent)
        largest = math.log(len(predicted.probabilities))  # nats, of a classifier that knows nothing
        return min(1.0, max(urgent, predicted.uncertainty / largest))

    def _count(self, leading: str, abstained: str | None) -> None:
        self._metrics.answer(None if abstained else leading, "abstained" if abstained else None)

    async def _refuse_long_queue(self) -> None:
        """Raise Refusal where more jobs wait than are worked off in reasonable time; counted once a second at most."""
        when, count = self._queued
        if time.monotonic() - when > COUNTED_S:
            count = (await asyncio.to_thread(self._jobs)).get("waiting", 0)
            self._queued = (time.monotonic(), count)
        if count >= self._max_queue:
            raise overloaded("More images wait in the queue than it may hold; ask again.", 30)

    def _jobs(self) -> dict[str, int]:
        with self._database.read() as connection:
            return jobs.counts(connection)

    async def _before(self, sender: Sender, digest: str) -> list[Outcome]:
        """Return the outcomes of the same request, where it was answered before."""
        known = await asyncio.to_thread(self._known, sender, digest)
        return await asyncio.to_thread(self._recalled, known) if known else []

    def _known(self, sender: Sender, digest: str) -> list[Any]:
        """Return what is remembered of the request with the sender's key: ids of cases, and refusals."""
        if sender.key is None:
            return []
        with self._database.read() as connection:
            before = cases.requested_before(connection, sender.actor, sender.key)
        if before is None:
            return []
        if before[0] != digest:
            raise Refusal(409, "idempotency_conflict", "This Idempotency-Key was used for another request.")
        return before[1]

    def _recalled(self, known: Sequence[Any]) -> list[Outcome]:
        with self._database.read() as connection:
            names = cases.classifier_names(connection)
            outcomes = []
            for one in known:
                if isinstance(one, dict):
                    refused = RefusedImageError(one["code"], one["reason"])
                    outcomes.append(Outcome(one.get("case"), refused=refused))
                elif (case := cases.find_case(connection, one)) is not None:
                    by = "" if case.prediction is None else case.prediction["classifier_hash"]
                    outcomes.append(Outcome(one, stored_answer(case, name=names.get(by, ""), repeated=True)))
        return outcomes

    def _case(self, case_id: str) -> Case | None:
        with self._database.read() as connection:
            return cases.find_case(connection, case_id)


def _remembered(outcome: Outcome) -> Any:
    """Return what is kept of an outcome for a request that comes again."""
    if outcome.refused is None:
        return outcome.case_id
    return {"code": outcome.refused.code, "reason": outcome.refused.reason, "case": outcome.case_id}


def _received(sent: Sent, sender: Sender, at: int) -> Received:
    digest = hashlib.sha256(sent.content).hexdigest()
    return Received(
        new_id(), new_id(), at, sender.actor, sender.via, digest, len(sent.content), sent.name, sender.subject
    )


def _request_hash(sent: Sequence[Sent], sender: Sender, way: str) -> str:
    """Return a hash of what a request asks: of its images and its subject."""
    whole = hashlib.sha256(f"{way}\0{sender.subject or ''}\0".encode())
    for one in sent:
        whole.update(hashlib.sha256(one.content).digest())
    return whole.hexdigest()


def _key_row(sender: Sender, digest: str, remembered: Sequence[Any], at: int) -> cases.Rows:
    if sender.key is None:
        return []
    return [(tables.request_keys, cases.request_key(sender.actor, sender.key, digest, remembered, at))]


def _predicted(
    decoded: Decoded, said: Said, use: Use, case_id: str, image_id: str, sha256: str, latency_ms: float
) -> Predicted:
    classes = use.served.classes
    row = said.probabilities
    return Predicted(
        prediction_id=new_id(),
        case_id=case_id,
        image_id=image_id,
        made_at=now_us(),
        classifier_hash=use.served.hash,
        engine=use.served.engine,
        input_hash=sha256,
        pixels_hash=decoded.pixels_sha256,
        leading=classes[said.label],
        probability=float(row[said.label]),
        abstained=said.abstained or None,
        uncertainty=float(said.uncertainty),
        probabilities=dict(zip(classes, row.tolist(), strict=True)),
        prediction_set=None if said.in_set is None else [classes[at] for at in said.in_set.nonzero()[0]],
        threshold=use.served.threshold,
        preprocessing=decoded.facts,
        latency_ms=latency_ms,
    )
