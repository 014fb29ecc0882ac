"""Facts in words, as pages say them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from foveal.web.svg import printable

VERDICTS = {
    "accept": "accepted",
    "amend": "amended",
    "reject": "rejected",
    "second-opinion": "second opinion asked for",
}
POSSIBLE = 0.3  # of all urgent classes together
UNSURE, SURE = 0.6, 0.85  # of the leading class
STATES = {"waiting": "waits for its answer", "answered": "answered", "quarantined": "held back", "erased": "erased"}
UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


def percent(share: float | None) -> str:
    """Return a share as a percentage that says neither 0 nor 100 where it is not."""
    if share is None:
        return "–"
    written = f"{100 * share:.1f}"
    if written == "100.0" and share < 1:
        return ">99.9 %"
    if written == "0.0" and share > 0:
        return "<0.1 %"
    return f"{written} %"


def moment(at_us: int | None) -> str:
    """Return a time as a date and an hour, UTC."""
    return "–" if at_us is None else datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")


def iso(at_us: int | None) -> str:
    """Return a time for machines."""
    return "" if at_us is None else datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(timespec="seconds")


def ago(at_us: int) -> str:
    """Return how long ago something was, in its largest unit."""
    seconds = time.time() - at_us / 1e6
    for size, name in UNITS:
        if seconds >= size:
            return plural(int(seconds // size), name)
    return "less than a minute"


def plural(count: int, name: str) -> str:
    """Return a count with its noun."""
    return f"{count:,} {name}" if count == 1 else f"{count:,} {name}s"


def why_here(row: Mapping[str, Any], urgent: Collection[str], share: float = 0.0) -> str:
    """Say why an open case stands where it stands in the worklist; `share` is the probability of the `urgent`."""
    reasons = []
    if row["review"] == "second-opinion":
        reasons.append("a second opinion is asked for")
    if row["abstained"]:
        reasons.append("the classifier does not rely on its answer")
    elif row["leading"] in urgent:
        reasons.append("an urgent class leads")
    elif share >= POSSIBLE:
        reasons.append("an urgent class is possible")
    elif row["probability"] is not None and row["probability"] < UNSURE:
        reasons.append("unsure: no class is far ahead")
    waited = (time.time() - row["received_at"] / 1e6) / 3600
    if waited >= 4:
        reasons.append(f"waits {ago(row['received_at'])}")
    if not reasons:
        reasons.append("a sure answer" if (row["probability"] or 0) >= SURE else "a fairly sure answer")
    return "; ".join(reasons)


def verdict(word: str | None, label: str | None) -> str:
    """Say what a review says."""
    said = VERDICTS.get(word or "", word or "not reviewed")
    return f"{said}: {printable(label)}" if label and word in ("accept", "amend") else said


def sentence(text: str) -> str:
    """Return `text` with its first letter large; a label further on keeps its own letters."""
    return text[:1].upper() + text[1:]


def set_in_words(classes: Sequence[str] | None, count: int) -> str:
    """Say what a prediction set means."""
    if classes is None:
        return ""
    if not classes:
        return "No class is plausible: the image is unlike those the sets were made with."
    if len(classes) == 1:
        return "One class is plausible."
    if len(classes) == count:
        return "Every class is plausible: the set excludes nothing."
    return f"{len(classes)} of {count} classes are plausible."


def doubt_in_words(nats: float, count: int) -> str:
    """Say how unsure an entropy is, beside the largest that `count` classes allow."""
    import math

    share = nats / math.log(count) if count > 1 else 0.0
    how = "low" if share < 0.35 else "moderate" if share < 0.7 else "high"
    return f"{how} ({nats:.2f} of at most {math.log(max(count, 2)):.2f} nats)"


def preprocessing(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (what, how) of what was done to an image."""
    return [(name.replace("_", " "), _fact(value)) for name, value in facts.items()]


def _fact(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return " × ".join(_fact(one) for one in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_fact(one)}" for name, one in value.items())
    return printable(str(value))
