"""The audit: each thing that a dataset can hide, found when it is there and only then."""

from __future__ import annotations

import json

import numpy as np
import pytest

from foveal import audit
from foveal.audit.cheap import NAMES, check_names
from foveal.audit.finding import MOST_RECORDS, Finding
from foveal.data.dataset import Dataset
from foveal.data.load import load
from foveal.errors import AuditError, UsageError

ASSIGNED = np.array(["train"] * 8 + ["validation"] * 2 + ["test"] * 2)


def dataset(labels: list[str] | None = None, groups: list[str] | None = None, same: tuple[int, ...] = ()) -> Dataset:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 4, 4), dtype=np.uint8)
    pixels[list(same)] = 7
    return load(pixels, labels or ["cat", "dog"] * 6, groups=groups)


def only(findings: list[Finding], name: str) -> Finding:
    (one,) = [finding for finding in findings if finding.name == name]
    return one


def test_clean_data_hide_nothing() -> None:
    assert audit.check(dataset(groups=[f"p{n}" for n in range(12)]), ASSIGNED) == []
    assert audit.check(dataset(groups=["", ""] * 6), ASSIGNED) == []  # not known is not the same


@pytest.mark.parametrize(
    "names",
    [
        ("Cat", "cat"),
        ("cat ", "cat"),
        ("covid-19", "COVID 19"),
        ("big_cat", "big-cat"),
        ("caf\u00e9", "cafe\u0301"),
        ("ﬁsh", "fish"),
    ],
)
def test_a_label_written_two_ways_blocks(names: tuple[str, str]) -> None:
    data = dataset([names[0], names[1], "dog"] * 4)
    finding = only(check_names(data), audit.cheap.LABEL_WRITTEN_TWO_WAYS)
    assert finding.severity == "block"
    assert set(finding.records) == set(names)
    assert all(f'"{name}"' in finding.sentence for name in names)
    assert finding in audit.check(data, ASSIGNED)


def test_labels_that_only_resemble_are_left_alone() -> None:
    assert check_names(dataset(["cat", "cats", "cat1"] * 4)) == []


def test_a_group_on_two_sides_blocks_unless_it_was_asked_for() -> None:
    data = dataset(groups=["p1", *[f"p{n}" for n in range(2, 11)], "p2", "p1"])
    finding = only(audit.check(data, ASSIGNED), "group-across-splits")
    assert finding.severity == "block"
    assert finding.count == 2
    assert finding.records == ("p1: test, train", "p2: test, train")
    assert "2 groups (patients) lie in more than one split" in finding.sentence
    on_purpose = only(audit.check(data, ASSIGNED, torn_on_purpose=True), "group-across-splits")
    assert on_purpose.severity == "warn"


def test_copies_across_splits_block_and_copies_within_warn() -> None:
    across = audit.check(dataset(same=(0, 2, 10)), ASSIGNED)
    finding = only(across, "duplicates-across-splits")
    assert finding.severity == "block"
    assert finding.count == 1
    assert finding.records == ("000000 (train) = 000002 (train) = 000010 (test)",)
    assert only(across, "duplicates").count == 2
    within = audit.check(dataset(same=(0, 2, 4)), ASSIGNED)
    assert [(one.name, one.severity, one.count) for one in within] == [("duplicates", "warn", 2)]
    assert within[0].sentence == "2 images are exact copies of another image; copies were kept in the same split."


def test_one_image_under_two_labels_is_shown_with_both() -> None:
    finding = only(audit.check(dataset(same=(0, 1)), ASSIGNED), "same-image-two-labels")
    assert finding.severity == "warn"
    assert finding.records == ("000000 (cat), 000001 (dog)",)


@pytest.mark.parametrize(("cats", "found"), [(10, True), (9, False)])
def test_imbalance_from_five_to_one(cats: int, found: bool) -> None:
    findings = audit.check(dataset(["cat"] * cats + ["dog"] * (12 - cats)), ASSIGNED)
    assert [one.name for one in findings] == (["imbalance"] if found else [])
    if found:
        assert "10 × cat but 2 × dog" in findings[0].sentence


def test_of_many_records_twenty_are_kept_and_all_are_counted() -> None:
    pixels = np.repeat(np.arange(50, dtype=np.uint8), 2)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    data = load(pixels, [0, 0, 1, 1] * 25)
    finding = only(audit.check(data, np.array(["train", "test"] * 50)), "duplicates-across-splits")
    assert finding.count == 50
    assert len(finding.records) == MOST_RECORDS
    json.dumps(finding.to_dict(), allow_nan=False)


def test_what_blocks_is_refused_by_name_and_accepted_by_name() -> None:
    groups = ["p1", *[f"p{n}" for n in range(2, 12)], "p1"]
    findings = audit.check(dataset(groups=groups, same=(0, 2, 10)), ASSIGNED)
    assert len(findings) == 3
    with pytest.raises(AuditError) as caught:
        audit.refuse_blocking(findings, [], NAMES)
    message = str(caught.value)
    assert "1 groups (patients) lie in more than one split" in message
    assert "  p1: test, train" in message
    assert "--accept group-across-splits --accept duplicates-across-splits; the report will say so." in message
    with pytest.raises(AuditError) as caught:
        audit.refuse_blocking(findings, ["group-across-splits"], NAMES)
    assert "--accept duplicates-across-splits;" in str(caught.value)
    assert "group-across-splits" not in str(caught.value)
    accepted = audit.refuse_blocking(findings, ["group-across-splits", "duplicates-across-splits"], NAMES)
    assert {one.name: one.accepted for one in accepted} == {
        "group-across-splits": True,
        "duplicates-across-splits": True,
        "duplicates": False,
    }
    assert audit.refuse_blocking([], ["imbalance"], NAMES) == []  # accepting what is not found is no fault


def test_accepting_what_no_audit_finds_is_a_usage_error() -> None:
    with pytest.raises(UsageError) as caught:
        audit.refuse_blocking([], ["duplicate-across-split"], NAMES)
    assert 'There is no finding "duplicate-across-split" to accept' in str(caught.value)
    assert str(caught.value).endswith('Did you mean "duplicates-across-splits"?')
