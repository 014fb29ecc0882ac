"""The guide of the service knows every setting, with the default it has.

``python tests/docs/test_serve_page.py`` writes the table anew.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'foveal[serve]'")

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from foveal.serving.setting_sources import fields
from foveal.serving.settings import Settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "serve.md"
MARK = "<!-- settings: written by python tests/docs/test_serve_page.py -->"
TABLE = re.compile(rf"(\|---\|---\|---\|\n)(?:\|[^\n]*\n)*{re.escape(MARK)}\n")


def shown(value: object) -> str:
    """A default as it would stand in TOML; nothing for an empty one."""
    if value in ("", ()) or isinstance(value, SecretStr):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def rows() -> str:
    known = fields(Settings)
    return "".join(
        f"| `{key}` | {shown(one.default)} | {one.description}{choices(one)} |\n" for key, one in known.items()
    )


def choices(field: FieldInfo) -> str:
    if get_origin(field.annotation) is not Literal:
        return ""
    return f" One of {', '.join(f'`{one}`' for one in get_args(field.annotation))}."


def page() -> str:
    text, count = TABLE.subn(lambda found: f"{found[1]}{rows()}{MARK}\n", PAGE.read_text(encoding="utf-8"))
    assert count == 1
    return text


def test_the_table_of_settings_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), "out of date; run: python tests/docs/test_serve_page.py"


def test_settings_and_variables_that_the_page_names_exist():
    text = PAGE.read_text(encoding="utf-8")
    known = fields(Settings)
    for name in re.findall(r"FOVEAL_SERVE_([A-Z_]+)=", text):
        assert name.lower().replace("__", ".") in known
    for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL):
        for name in tomllib.loads(block):
            assert name in Settings.model_fields


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
