"""Templates, style sheets and scripts, read from beside the code that uses them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined

from foveal.web.svg import printable


def asset(package: str, name: str) -> str:
    """Return the text of the data file `name` that lies beside the code of `package`."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


@cache
def templates(package: str) -> Environment:
    """Return the Jinja environment over the templates of `package`, which compiles each of them once a process.

    Every value is escaped whatever the template is called, an unknown name is an error rather than
    nothing, and ``|tojson`` is safe inside a script element and keeps the order of keys. ``|shown``
    makes control characters visible.
    """
    environment = Environment(
        loader=FunctionLoader(lambda name: asset(package, name)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = lambda text: printable(str(text))
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    return environment
