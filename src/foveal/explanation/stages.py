"""The stages of a network that have a map: by their paper's name, by module, by number, or chosen."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from weakref import WeakKeyDictionary

from torch import nn

from foveal.errors import UsageError
from foveal.explanation.capture import unknown_module
from foveal.models.anatomy import Anatomy, inspect_network
from foveal.models.anatomy.receptive_field import Sight
from foveal.models.anatomy.trace import Node, Trace

BLACK_BOX = "occlusion, rise or integrated-gradients"
_INSPECTED: WeakKeyDictionary[nn.Module, tuple[str, tuple[int, int, int], Anatomy]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Place:
    """A module whose output is a map, under the name by which people call it."""

    name: str  # the paper's, ``C3``, or the module's
    module: str
    shape: tuple[int, int, int]  # of the map of one image: (K, h, w)
    sight: Sight  # what its cells see of the image


def map_stages(network: nn.Module, image: tuple[int, int, int]) -> tuple[Place, ...]:
    """Return the named stages of `network` that have a map, for images (C, H, W), first to last.

    Of a network that names no stages these are its outermost modules.
    """
    return _maps_of(_inspected(network, image))


def _maps_of(anatomy: Anatomy) -> tuple[Place, ...]:
    ends = ((stage, anatomy.trace.nodes[stage.nodes[-1]]) for stage in anatomy.stages if stage.module)
    places = (_place(stage.name, stage.module, node) for stage, node in ends)
    return tuple(place for place in places if place is not None)


def last_map(network: nn.Module, image: tuple[int, int, int]) -> Place:
    """Return the last map before pooling, the one that class activation maps are made of.

    It is what the norms, activations and sums behind the last convolution make of its map, before its size changes.
    UsageError when the network has none.
    """
    trace = _inspected(network, image).trace
    maps = [node for node in trace.nodes if _place("", "", node) and node.shape[1] * node.shape[2] > 1]
    convolved = [at for at, node in enumerate(maps) if node.window is not None and "pool" not in node.type.lower()]
    for node in _of_one_size(maps[convolved[-1] :])[::-1] if convolved else ():
        module = _module_that_ends(network, trace, node)
        place = None if module is None else _place(_names(network).get(module, module), module, node)
        if place is not None:
            return place
    raise UsageError(f"This network ({type(network).__name__}) has no stage with a map of the image; use {BLACK_BOX}.")


def find_stage(network: nn.Module, which: str | int | None, image: tuple[int, int, int]) -> Place:
    """Return the stage called `which`: its paper's name, a module's name, its number among `map_stages`, or None.

    None is the `last_map`. UsageError for one that does not exist, with those that do, or that has no map.
    """
    if which is None:
        return last_map(network, image)
    if isinstance(which, bool) or not isinstance(which, int | str):
        raise UsageError(f"A stage is a name or a whole number, not {which!r}.")
    if isinstance(which, int):
        places = map_stages(network, image)
        if not -len(places) <= which < len(places):
            names = ", ".join(f"{at} {one.name}" for at, one in enumerate(places))
            raise UsageError(f"There is no stage {which}; choose {names or 'a module'}.")
        return places[which]
    module, anatomy = module_of(network, which), _inspected(network, image)
    end = anatomy.trace.ends.get(module)
    if end is None:
        raise UsageError(f'The module "{which}" takes no part in what the network answers; choose another stage.')
    place = _place(which, module, anatomy.trace.nodes[max(end - 1, 0)])
    if place is None:
        maps = ", ".join(one.name for one in _maps_of(anatomy))
        raise UsageError(f'The stage "{which}" has no map of the image; choose {maps or BLACK_BOX}.')
    return place


def _inspected(network: nn.Module, image: tuple[int, int, int]) -> Anatomy:
    """Return the anatomy of `network` for images (C, H, W); the last one is kept for the next batch of images.

    It is taken anew where the network or one of its layers reads otherwise than then.
    """
    layers = repr(network)
    kept = _INSPECTED.get(network)
    if kept is None or kept[:2] != (layers, image):
        kept = _INSPECTED[network] = (layers, image, inspect_network(network, *image))
    return kept[2]


def module_of(network: nn.Module, stage: str) -> str:
    """Return the module whose output `stage` is: its paper's name, or the module's own; UsageError for neither."""
    stages = {name: module for module, name in _names(network).items()}
    module = stages.get(stage, stage)
    if not module or module not in dict(network.named_modules()):
        raise UsageError(unknown_module(network, stage, tuple(stages)))
    return module


def _place(name: str, module: str, node: Node) -> Place | None:
    """Return the stage of which `node` is the last one; None where it gives no map of rows and columns."""
    if node.sight is None or len(node.shape) != 3 or node.sight.axes != (2, 3):
        return None
    maps, height, width = node.shape
    return Place(name, module, (maps, height, width), node.sight)


def _of_one_size(maps: list[Node]) -> list[Node]:
    """Return the first of `maps` that have as many rows and columns as the very first."""
    return [*takewhile(lambda node: node.shape[1:] == maps[0].shape[1:], maps)]


def _names(network: nn.Module) -> dict[str, str]:
    """Return the paper's names of a network's stages, by module."""
    named = getattr(network, "stages", None)
    return {module: name for name, module in named.items()} if isinstance(named, dict) else {}


def _module_that_ends(network: nn.Module, trace: Trace, node: Node) -> str | None:
    """Return the outermost module whose output the node is, a stage first; None when no module's it is."""
    ends = [name for name, end in trace.ends.items() if name and end == node.index + 1]
    stages = _names(network)
    return min(ends, key=lambda name: (name not in stages, name.count(".")), default=None)
