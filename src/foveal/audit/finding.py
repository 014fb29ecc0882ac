"""A finding: one thing that a dataset hides, with the records that show it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from foveal.errors import AuditError, UsageError, listed, nearest

MOST_RECORDS = 20


@dataclass(frozen=True)
class Finding:
    """One thing found. `block` stops training unless it is accepted by name in the recipe."""

    name: str
    severity: Literal["block", "warn"]
    sentence: str
    count: int
    records: tuple[str, ...]  # at most 20 of them
    accepted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return what audit.json holds of it."""
        return asdict(self)


def refuse_blocking(findings: Sequence[Finding], accepted: Iterable[str], known: Iterable[str]) -> list[Finding]:
    """Return `findings` with those in `accepted` marked; AuditError when one that blocks is not accepted.

    UsageError when `accepted` names no finding that Foveal knows.
    """
    accepted, known = set(accepted), list(known)
    for name in sorted(accepted - set(known)):
        raise UsageError(f'There is no finding "{name}" to accept ({", ".join(known)}).{nearest(name, known)}')
    findings = [replace(finding, accepted=finding.name in accepted) for finding in findings]
    blocking = [finding for finding in findings if finding.severity == "block" and not finding.accepted]
    if blocking:
        parts = [f"{one.sentence}\n{listed(one.records, 6)}" for one in blocking]
        names = " ".join(f"--accept {one.name}" for one in blocking)
        raise AuditError(
            "\n".join(parts) + f"\nMend the data, or go on knowingly with {names}; the report will say so."
        )
    return findings
