"""The names of all findings, as a recipe accepts them and a report prints them."""

from __future__ import annotations

from foveal.audit.cheap import NAMES as CHEAP
from foveal.audit.label_errors import LABEL_ERRORS
from foveal.audit.near import NEAR_DUPLICATES, NEAR_DUPLICATES_ACROSS_SPLITS, NEAR_DUPLICATES_TWO_LABELS
from foveal.audit.odd_files import ODD_FILES
from foveal.audit.shortcuts import SHORTCUT

NAMES = (
    *CHEAP,
    NEAR_DUPLICATES,
    NEAR_DUPLICATES_ACROSS_SPLITS,
    NEAR_DUPLICATES_TWO_LABELS,
    LABEL_ERRORS,
    SHORTCUT,
    ODD_FILES,
)
