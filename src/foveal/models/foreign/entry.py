"""Networks that are not of the gallery, by their names, and whose word it takes to run them.

===================  ==============================================  ============================
name                 what it is                                      a file that names it is loaded
===================  ==============================================  ============================
timm:NAME            a network of timm, without its weights          as every other
package.module:name  a function of the user's that returns a module  with ``trust=``, ``--trust``
object:CLASS         a module handed over from Python                with ``network=``
===================  ==============================================  ============================

Nothing here runs anybody's code: `Architecture.build` and `Architecture.options` do.
"""

from __future__ import annotations

from dataclasses import dataclass

from foveal.errors import ClassifierError
from foveal.models.architecture import Architecture

TIMM, OBJECT = "timm:", "object:"
USUAL_INPUT, USUAL_CLASSES = (3, 224, 224), 1000  # where nothing is said: ImageNet's


@dataclass(frozen=True)
class Foreign(Architecture):
    """An architecture of somebody else's. What the gallery knows of its own is not known of it: counts are 0."""

    def takes(self, option: str) -> bool:
        """Whether `option`, which has no plain default, may be given."""
        raise NotImplementedError


def is_foreign(name: str) -> bool:
    """Whether `name` is of a network that is not in the gallery."""
    return ":" in name


def foreign(name: str) -> Architecture:
    """Return the entry of a network outside the gallery.

    Raises UsageError for a name that cannot be one or that timm does not know, MissingPartError without timm.
    """
    if name.startswith(TIMM):
        from foveal.models.foreign.timm_network import timm_entry

        return timm_entry(name)
    if name.startswith(OBJECT):
        from foveal.models.foreign.given import given_entry

        return given_entry(name)
    from foveal.models.foreign.builder import builder_entry

    return builder_entry(name)


def runs_code(name: str) -> bool:
    """Whether building the network called `name` runs a function that this name alone chooses."""
    return is_foreign(name) and not name.startswith((TIMM, OBJECT))


def refuse_untrusted(name: str, trust: str | None, where: object) -> None:
    """Raise ClassifierError when the file `where` names code, and that code is not what the user trusts."""
    if runs_code(name) and name != trust:
        code = shown(name)
        raise ClassifierError(
            f"{where} wants to run {code}, which is code outside of Foveal that can do whatever you can; only if you "
            f'know it and trust it, allow it with --trust {code} (in Python trust="{code}").'
        )


def shown(name: str) -> str:
    """Return a name out of a file as it may stand in a sentence on a terminal."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name[:200])


def plain(value: object) -> object:
    """Return `value`, a text as the number or yes or no that it writes."""
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
