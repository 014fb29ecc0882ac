"""Where settings come from, so that a refusal names the file and its line, the variable, or the option."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from foveal.errors import UsageError, nearest

PREFIX = "FOVEAL_SERVE_"
SECRET_KEYS = ("secret", "database")  # whose values are never repeated in a message
SWITCHES = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class Given:
    """One setting as it was said: its value, and the words for where that was."""

    value: Any
    place: str  # "in foveal.toml, line 3", "in the variable FOVEAL_SERVE_PORT", "in the option --port"
    file: Path | None = None


def from_file(path: Path, model: type[BaseModel]) -> dict[str, Given]:
    """Return key → what a TOML file says of it; UsageError for what it says wrongly."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise UsageError(f"There is no settings file {path}.") from error
    except OSError as error:
        raise UsageError(f"The settings file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"The settings file {path} is no UTF-8 text.") from error
    try:
        values = tomllib.loads(text.replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        hint = " Settings are TOML (port = 8000), not YAML." if _looks_like_yaml(path, text) else ""
        raise UsageError(f"{path} is no TOML: {_lowered(str(error))}.{hint}") from error
    lines = _lines(text)
    given = {}
    for key, value in _flat(values, tables(model)):
        line = lines.get(key) or lines.get(key.partition(".")[0])
        place = f"in {path}, line {line}" if line else f"in {path}"
        given[key] = Given(_checked(key, value, place, model), place, path)
    return given


def from_environment(environment: Mapping[str, str], model: type[BaseModel]) -> dict[str, Given]:
    """Return key → what ``FOVEAL_SERVE_…`` says of it; two underscores stand for the dot of a table."""
    given = {}
    for name in sorted(environment):
        if name.startswith(PREFIX):
            key = name.removeprefix(PREFIX).lower().replace("__", ".")
            place = f"in the variable {name}"
            given[key] = Given(_checked(key, environment[name], place, model, is_text=True), place)
    return given


def from_options(options: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Given]:
    """Return key → what the command line says of it; None was not said."""
    given = {}
    for key, value in options.items():
        if value is not None:
            place = f"in the option --{key.replace('_', '-').replace('.', '-')}"
            said = str(value) if isinstance(value, Path) else value
            given[key] = Given(_checked(key, said, place, model, is_text=isinstance(said, str)), place)
    return given


def nested(given: Mapping[str, Given]) -> dict[str, Any]:
    """Return the values as the model takes them: those of a table in a table."""
    values: dict[str, Any] = {}
    for key, one in given.items():
        table, dot, name = key.rpartition(".")
        (values.setdefault(table, {}) if dot else values)[name] = one.value
    return values


def tables(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Return name → model of each setting that is a table."""
    kinds = ((name, field.annotation) for name, field in model.model_fields.items())
    return {name: kind for name, kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)}


def fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return key → field of every setting, those of a table as ``table.name``."""
    inner = tables(model)
    found = {name: field for name, field in model.model_fields.items() if name not in inner}
    found.update({f"{name}.{one}": field for name, table in inner.items() for one, field in table.model_fields.items()})
    return found


def _checked(key: str, value: Any, place: str, model: type[BaseModel], *, is_text: bool = False) -> Any:
    """Return `value` as the setting `key` holds it, or say what is wrong with it."""
    known = fields(model)
    if key in tables(model):
        inner = next(name for name in known if name.startswith(f"{key}."))
        raise UsageError(f"{key} ({place}) is a table of settings, e.g. {inner}, not a value.")
    if key not in known:
        raise UsageError(f'There is no setting "{key}" ({place}).{nearest(key, known)}')
    field = known[key]
    value = _read(value, field) if is_text else value
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(_with_limits(field))
        return adapter.validate_python(value, strict=None if isinstance(value, list) else True)
    except ValidationError as error:
        said = "" if key in SECRET_KEYS else f" = {_short(value)}"
        near = nearest(str(value), get_args(field.annotation)) if get_origin(field.annotation) is Literal else ""
        raise UsageError(f"{key}{said} ({place}) is wrong: {_reason(error, field, value)}.{near}") from error


def _with_limits(field: FieldInfo) -> Any:
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _read(text: str, field: FieldInfo) -> Any:
    """Return what a text stands for in a setting of another type; the text itself where it stands for nothing."""
    kind = field.annotation
    if kind is bool:
        return SWITCHES.get(text.strip().lower(), text)
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            return text
    if get_origin(kind) is tuple:
        return [one.strip() for one in text.split(",") if one.strip()]
    return text


def _reason(error: ValidationError, field: FieldInfo, value: Any) -> str:
    """Return in words what the setting must be."""
    kind = field.annotation
    if get_origin(kind) is Literal:
        return f"it is one of {', '.join(get_args(kind))}"
    names: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    first = error.errors()[0]
    if first["type"] in ("string_type", "int_type", "float_type", "bool_type", "int_from_float", "tuple_type"):
        wanted = names.get(kind, "a list of texts" if get_origin(kind) is tuple else "a text")
        quoted = ", without quotes" if isinstance(value, str) and kind in (bool, int, float) else ""
        return f"it is {wanted}{quoted}"
    if kind is SecretStr:
        return "it is a text"
    return _lowered(first["msg"].replace("Input should", "it must"))


def _flat(values: Mapping[str, Any], inner: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of a TOML table, and of the `inner` tables that the settings have."""
    for name, value in values.items():
        if isinstance(value, dict) and name in inner:
            yield from _flat(value, {}, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _lines(text: str) -> dict[str, int]:
    """Return key → number of the line on which a TOML text sets it; tables count as keys."""
    found: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            table = _plain(header[1])
            found.setdefault(table, number)
        elif assignment := re.match(r"\s*([^=#\[\]{}]+?)\s*=", line):
            key = ".".join(part for part in (table, _plain(assignment[1])) if part)
            found.setdefault(key, number)
            found.setdefault(key.partition(".")[0], number)
    return found


def _plain(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))


def _looks_like_yaml(path: Path, text: str) -> bool:
    yaml = path.suffix.lower() in (".yaml", ".yml") or "!!" in text
    return yaml or any(re.match(r"\s*[\w-]+\s*:(\s|$)", line) for line in text.splitlines())


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
