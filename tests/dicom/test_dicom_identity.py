"""Pseudonyms: the same patient under the same salt is the same group, and nothing leads back without it."""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import stat
import threading
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_files import content
from foveal.dicom import identity
from foveal.dicom.identity import About, about, own_salt, pseudonym, salt_file
from foveal.dicom.read import UnreadableDicomError
from foveal.errors import UsageError

SALT = b"0123456789abcdef"
SMALL = np.arange(20, dtype=np.uint16).reshape(4, 5)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config folder of the test's own, and no salt in the environment."""
    monkeypatch.delenv(identity.SALT_VARIABLE, raising=False)
    folder = tmp_path / "config" / "foveal"
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_, **__: folder)
    return folder


def of(**values: str) -> About:
    return about(io.BytesIO(content(SMALL, **values)), SALT)


def test_a_pseudonym_is_a_keyed_hash() -> None:
    expected = hmac.new(SALT, b"P1\\HOSPITAL", hashlib.sha256).hexdigest()[:16]
    assert pseudonym("P1", "HOSPITAL", SALT) == expected
    assert pseudonym(" P1 ", "HOSPITAL ", SALT) == expected  # DICOM pads with spaces
    assert pseudonym("P1", "HOSPITAL", SALT + b"!") != expected
    assert pseudonym("P1", "ELSEWHERE", SALT) != expected


def test_a_patient_without_a_number_is_unknown_and_merged_with_nobody() -> None:
    assert pseudonym("", "HOSPITAL", SALT) == ""
    assert of().group == of(PatientID="").group == of(PatientID="  ", IssuerOfPatientID="X").group == ""


@given(st.lists(st.text(max_size=20), min_size=2, max_size=20, unique_by=str.strip))
def test_different_numbers_are_different_groups(numbers: list[str]) -> None:
    numbers = [one for one in numbers if one.strip()]
    assert len({pseudonym(one, "", SALT) for one in numbers}) == len(numbers)


def test_what_a_file_says_of_its_origin() -> None:
    found = of(
        PatientID="P1",
        IssuerOfPatientID="H",
        Manufacturer=" ACME\tCorp ",
        ManufacturerModelName="X  1",
        StudyDate="20240229",
    )
    assert found == About(pseudonym("P1", "H", SALT), "ACME Corp X 1", "20240229")
    assert of() == About("", "", "")
    assert of(ManufacturerModelName="X1").device == "X1"
    assert len(of(Manufacturer="A" * 64, ManufacturerModelName="B" * 64).device) == 129


@pytest.mark.parametrize("date", ["00000000", "20230229", "2024", "yesterday", "2024-1-1"])
def test_a_date_that_is_none_is_unknown(date: str) -> None:
    file = content(SMALL, StudyDate="20240101").replace(b"20240101", date.encode().ljust(8)[:8])
    assert about(io.BytesIO(file), SALT).study_date == ""


def test_the_date_of_an_old_file_is_understood() -> None:
    file = content(SMALL, StudyDate="1993.01.31")
    assert about(io.BytesIO(file), SALT).study_date == "19930131"


def test_only_the_header_is_read() -> None:
    whole = content(SMALL, PatientID="P1")
    assert about(io.BytesIO(whole[:-30]), SALT).group == pseudonym("P1", "", SALT)
    with pytest.raises(UnreadableDicomError):
        about(io.BytesIO(b"no DICOM"), SALT)


def test_the_salt_is_made_once_and_only_its_owner_reads_it(home: Path) -> None:
    first = own_salt()
    assert salt_file() == home / "dicom-salt"
    assert len(first) == 64
    assert own_salt() == first
    if os.name == "posix":
        assert stat.S_IMODE(salt_file().stat().st_mode) == 0o600
    assert [one.name for one in home.iterdir()] == ["dicom-salt"]
    salt_file().unlink()
    assert own_salt() != first


def test_many_at_once_agree_on_one_salt() -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(own_salt())) for _ in range(12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(found) == 12
    assert len(set(found)) == 1


def test_the_environment_may_give_the_salt(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv(identity.SALT_VARIABLE, "a hospital's own long secret")
    assert own_salt() == b"a hospital's own long secret"
    assert not home.exists()
    for short in ("", "secret"):
        monkeypatch.setenv(identity.SALT_VARIABLE, short)
        with pytest.raises(UsageError, match=r"\$FOVEAL_DICOM_SALT has fewer than 16"):
            own_salt()


def test_a_damaged_salt_file_is_named(home: Path) -> None:
    home.mkdir(parents=True)
    salt_file().write_text("\n")
    with pytest.raises(UsageError, match="dicom-salt has fewer than 16"):
        own_salt()


def test_a_place_that_cannot_be_written_is_named(home: Path) -> None:
    home.parent.mkdir(parents=True)
    home.write_text("a file where the folder should be")
    with pytest.raises(UsageError, match="dicom-salt, which keeps the salt for patients' pseudonyms, cannot be used"):
        own_salt()
