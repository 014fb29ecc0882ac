"""Several anatomies beside each other: their totals, and their stages at each stride."""

from __future__ import annotations

from collections.abc import Sequence

from foveal.models.anatomy.anatomy import Anatomy, Stage
from foveal.models.anatomy.summary import pair, size

HEAD = "head"  # what stands behind the last map
TOTALS = (
    "", "input", "parameters", "  trainable", "  in training only", "multiply-adds", "weights in use", "activations",
    "receptive field", "last map", "stages", "layers", "",
)  # fmt: skip


def side_by_side(anatomies: Sequence[Anatomy], *, width: int = 100) -> list[str]:
    """Return the lines: a column a network, as many beside each other as `width` allows, the others below.

    Stages stand at their stride, the distance of their cells in pixels, so that maps alike face each other.
    """
    labels, columns = list(TOTALS), [_totals(one) for one in anatomies]
    strides = sorted({stage.stride for one in anatomies for stage in one.stages if stage.stride})
    for stride in [*strides, None]:
        found = [[_said(stage) for stage in one.stages if stage.stride == stride] for one in anatomies]
        tall = max(map(len, found))
        labels += [*([f"stride {pair(stride)}" if stride else HEAD] if tall else []), *[""] * (tall - 1)]
        for column, cells in zip(columns, found, strict=True):
            column += [*cells, *[""] * (tall - len(cells))]
    return _in_rows(labels, columns, width)


def _totals(one: Anatomy) -> list[str]:
    return [
        one.title,
        "×".join(map(str, one.input)),
        f"{one.parameters:,}",
        f"{one.trainable:,}",
        f"{one.auxiliary_parameters:,}" if one.auxiliary_parameters else "–",
        f"{one.macs:,}",
        size(one.weight_bytes),
        size(one.activation_bytes),
        f"{pair(one.receptive_field)} (stride {pair(one.stride)})" if one.receptive_field[0] else "–",
        one.last_map or "–",
        str(len(one.stages)),
        str(len(one.layers)),
        "",
    ]


def _said(stage: Stage) -> str:
    return f"{stage.name}  {stage.output}"


def _in_rows(labels: Sequence[str], columns: Sequence[Sequence[str]], width: int) -> list[str]:
    first = max(map(len, labels))
    widths = [max(map(len, column)) for column in columns]
    lines: list[str] = []
    at = 0
    while at < len(columns):
        upto, taken = at, first
        while upto < len(columns) and (upto == at or taken + 3 + widths[upto] <= width):
            taken += 3 + widths[upto]
            upto += 1
        lines += [""] if lines else []
        for row, label in enumerate(labels):
            cells = (f"{columns[one][row]:<{widths[one]}}" for one in range(at, upto))
            lines.append("   ".join([f"{label:<{first}}", *cells]).rstrip())
        at = upto
    return lines
