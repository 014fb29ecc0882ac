"""The tables, the same on SQLite and PostgreSQL.

Times are whole microseconds since 1970 in UTC (``…_at``), so that both databases keep and compare them alike.
Ids are texts that cannot be guessed and that sort by the time they were made (`ids.new_id`). Nothing orders by
time alone: a clock can step back, so the trail and the queue count.

::

    cases ──< images ──< predictions ──< explanations      what came in, and what the classifier said of it
      │──< reviews, problems                               what people said of it
      └──< jobs                                            what is still to do
    users ──< sessions     keys     request_keys           who may ask, and what was asked already
    classifiers                                            what answered
    trail                                                  all of it, in order, chained by hashes
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
Counter = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only an INTEGER PRIMARY KEY


def _id() -> Column[str]:
    return Column("id", Text, primary_key=True)


def _of(table: str, name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, ForeignKey(f"{table}.id"), nullable=null, index=True)


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null)


def _at(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null)  # microseconds since 1970, UTC


cases = Table(
    "cases",
    metadata,
    _id(),
    _at("received_at"),
    _text("sender"),  # user:NAME, key:ID, guest, watch
    _text("via"),  # http, v2, page, watch
    _text("name", null=True),  # the file's name as it was sent; gone with erasure; never in logs or the trail
    _text("subject", null=True),  # the sender's pseudonym of a patient; gone with erasure
    _text("state"),  # waiting, answered, quarantined, erased
    _text("reason", null=True),  # why it is quarantined
    _text("prediction_id", null=True),  # the newest
    _text("leading", null=True),  # of the newest prediction: the class it would answer
    Column("probability", Float),  # of the newest prediction: of `leading`
    _text("abstained", null=True),  # of the newest prediction: why no answer should be relied on
    Column("uncertainty", Float),  # of the newest prediction: entropy, nats
    Column("urgency", Float, nullable=False, default=0.0),  # higher is looked at first
    Column("version", Integer, nullable=False, default=0),  # counts reviews; a review names the one it was made of
    _text("review", null=True),  # newest verdict: accept, amend, reject; second-opinion while one is asked for
    _text("final_label", null=True),  # what people say; never the classifier's column
    Index(None, "state", "review", "urgency"),
    Index(None, "received_at"),
    Index(None, "subject"),
)

images = Table(
    "images",
    metadata,
    _id(),
    _of("cases", "case_id"),
    Column("sha256", Text, nullable=False, index=True),  # of the bytes as received, and the name of the file
    Column("size", BigInteger, nullable=False),  # bytes
    _text("format", null=True),  # JPEG, PNG, …; none before it is decoded
    Column("width", Integer),
    Column("height", Integer),
    Column("kept", Boolean, nullable=False, default=True),  # whether the file is still there
)

predictions = Table(
    "predictions",
    metadata,
    _id(),
    _of("cases", "case_id"),
    _of("images", "image_id"),
    _at("made_at"),
    _text("classifier_hash"),
    _text("engine"),
    _text("input_hash"),  # SHA-256 of the bytes that were decoded
    _text("pixels_hash"),  # SHA-256 of the pixels (H, W, C) uint8 that entered the network
    _text("leading"),
    Column("probability", Float, nullable=False),
    _text("abstained", null=True),
    Column("uncertainty", Float, nullable=False),
    _text("probabilities"),  # JSON object: class → calibrated probability
    _text("prediction_set", null=True),  # JSON array
    _text("threshold", null=True),
    _text("preprocessing"),  # JSON object: what was done to the image
    Column("latency_ms", Float, nullable=False),
)

explanations = Table(
    "explanations",
    metadata,
    _id(),
    _of("cases", "case_id"),
    _of("predictions", "prediction_id"),
    _at("made_at"),
    _text("method"),
    _text("target"),  # the class explained
    _text("map_sha256"),  # PNG, 8-bit grey, of the image's own frame: the map from 0 to 1
    _text("facts"),  # JSON object: stage, parameters, faithfulness where it was measured
    UniqueConstraint("prediction_id", "method", "target"),
)

reviews = Table(
    "reviews",
    metadata,
    _id(),
    _of("cases", "case_id"),
    Column("version", Integer, nullable=False),  # that this review makes: 1 is the first
    _at("made_at"),
    _text("reviewer"),  # user:NAME or key:ID
    _text("verdict"),  # accept, amend, reject, second-opinion
    _text("label", null=True),  # what the reviewer says it is; of accept the classifier's, of reject none
    _text("reason", null=True),
    _text("prediction_id", null=True),  # what it was made of
    _text("request_key", null=True),
    UniqueConstraint("case_id", "version"),
)

problems = Table(
    "problems",
    metadata,
    _id(),
    _of("cases", "case_id", null=True),
    _text("prediction_id", null=True),
    _at("made_at"),
    _text("reporter"),
    _text("description"),
    _text("state"),  # open, closed
    _text("answer", null=True),
)

users = Table(
    "users",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    _text("password_hash"),  # argon2id
    _text("role"),  # admin, reviewer, reader
    _at("made_at"),
    _at("disabled_at", null=True),
)

sessions = Table(
    "sessions",
    metadata,
    _id(),  # SHA-256 of the cookie's secret
    _of("users", "user_id"),
    _at("made_at"),
    _at("seen_at"),
    _at("ended_at", null=True),
)

keys = Table(
    "keys",
    metadata,
    _id(),
    _text("name"),
    _text("secret_hash"),  # argon2id
    _text("scopes"),  # JSON array of predict, explain, read, review, admin
    _text("made_by"),
    _at("made_at"),
    _at("expires_at", null=True),
    _at("revoked_at", null=True),
)

request_keys = Table(  # idempotency: the same key of the same sender gives the same cases
    "request_keys",
    metadata,
    Column("sender", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    _text("request_hash"),
    _text("case_ids"),  # JSON array: the id of each image's case, or the refusal as an object
    _at("made_at"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Counter, primary_key=True, autoincrement=True),
    _text("kind"),  # predict, explain
    _of("cases", "case_id"),
    _text("body"),  # JSON object
    _text("state"),  # waiting, leased, done, quarantined
    Column("attempts", Integer, nullable=False, default=0),
    _at("not_before"),
    _at("leased_until", null=True),
    _text("worker", null=True),
    _text("error", null=True),
    _at("made_at"),
    Index(None, "state", "not_before"),
)

classifiers = Table(
    "classifiers",
    metadata,
    Column("hash", Text, primary_key=True),
    _text("name"),
    _text("path"),
    _text("engine"),
    _text("card"),  # JSON object: architecture, classes, preprocess, decisions in words
    _at("loaded_at"),
)

trail = Table(
    "trail",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    _at("made_at"),
    _text("kind"),  # received, predicted, explained, reviewed, erased, key-made, model-loaded, signed-in, …
    _text("actor"),
    _text("subject"),  # the id that it is about: of a case, a key, a user, a classifier
    _text("body"),  # canonical JSON: ids, hashes and figures; no name of a person or a file
    _text("previous"),  # hash of the row before; 64 zeros for the first
    _text("hash"),
    Index(None, "subject"),
    Index(None, "kind", "seq"),
)
