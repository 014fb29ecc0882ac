"""What a network's modules give in a forward pass, kept; the network is left exactly as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from foveal.engines.eval_mode import in_eval_mode
from foveal.errors import UsageError, nearest

Graph = Literal["none", "above", "whole"]
MOST_NAMED = 40  # modules in a sentence


class Captured:
    """What the captured modules gave in the passes of the block, by the module's name."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self._calls: dict[str, list[Any]] = {module: [] for module in modules}

    def __getitem__(self, module: str) -> Tensor:
        """Return the output of the module's last call; UsageError when it gave no tensor, or did not run."""
        return self.calls(module)[-1]

    def calls(self, module: str) -> tuple[Tensor, ...]:
        """Return the output of every call of the module, in order: a module that is shared runs several times."""
        found = tuple(self._calls[module])
        if not found:
            raise UsageError(f'The module "{module}" takes no part in what the network answers; choose another stage.')
        if not all(isinstance(one, Tensor) for one in found):
            raise UsageError(f'The module "{module}" gives no single tensor; choose a module inside it.')
        return found

    def gradients(self, score: Tensor, *modules: str) -> tuple[Tensor, ...]:
        """Return the gradient of `score` (any shape; summed) by the output of each module's last call.

        No parameter's ``grad`` is touched. UsageError when the score does not depend on a module.
        """
        maps = [self[module] for module in modules]
        if not score.requires_grad:
            raise UsageError(f'The score does not depend on "{modules[0]}"; choose another stage.')
        found = torch.autograd.grad(score.sum(), maps, allow_unused=True)
        for module, gradient in zip(modules, found, strict=True):
            if gradient is None:
                raise UsageError(f'The score does not depend on "{module}"; choose another stage.')
        return found


@contextmanager
def capture(network: nn.Module, *modules: str, graph: Graph = "none") -> Iterator[Captured]:
    """Keep what `modules` (names as in ``named_modules``) give while the block runs; yields a `Captured`.

    The network runs in eval mode. What is kept is the module's output itself, before any in-place layer that follows
    writes over it. At the end the network's modes, hooks, gradients and buffers are as they were.

    Args:
        network: any torch module.
        modules: names of modules in it.
        graph: what autograd records of a pass: ``none``; what lies ``above`` the first captured output, so that
            scores can be differentiated by the maps at no more than that cost; or the ``whole`` of it, for
            gradients by the input.

    Raises:
        UsageError: for a module that does not exist, with those that do.
    """
    found = dict(network.named_modules())
    for module in modules:
        if not isinstance(module, str):
            raise UsageError(
                f"Modules are named by text, not {module!r}; find_stage tells the module of a stage's number."
            )
        if module not in found:
            raise UsageError(unknown_module(network, module))
    captured = Captured(modules)

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            if not isinstance(output, Tensor):
                captured._calls[name].append(output)
                return None
            if graph == "above":
                torch.set_grad_enabled(True)  # from here on; ends with the block
                if not output.requires_grad:
                    output = output.detach().requires_grad_()
            captured._calls[name].append(output)
            return output.clone()  # goes on; an in-place layer writes over the copy

        return hook

    def begin(*_: Any) -> None:
        torch.set_grad_enabled(False)

    handles = []
    with ExitStack() as stack:
        stack.enter_context(in_eval_mode(network))
        stack.enter_context(_buffers_kept(network))
        stack.enter_context(torch.set_grad_enabled(graph == "whole"))
        try:
            if graph == "above":
                handles.append(network.register_forward_pre_hook(begin))
            handles += [found[module].register_forward_hook(keep(module)) for module in dict.fromkeys(modules)]
            yield captured
        finally:
            for handle in handles:
                handle.remove()


@contextmanager
def _buffers_kept(network: nn.Module) -> Iterator[None]:
    """Write back what the block changes in buffers: a module may count its calls in eval mode too."""
    before = [(one, one.clone()) for one in network.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for one, kept in before:
                if not torch.equal(one, kept):
                    one.copy_(kept)


def unknown_module(network: nn.Module, name: str, stages: tuple[str, ...] = ()) -> str:
    """Return the sentence that says which stages and modules there are, where `name` is none of them."""
    modules = [module for module, _ in network.named_modules() if module]
    known = [*dict.fromkeys((*stages, *modules))]
    listed = ", ".join(known[:MOST_NAMED]) + (
        f", and {len(known) - MOST_NAMED:,} more" if len(known) > MOST_NAMED else ""
    )
    return f'There is no stage or module "{name}" in this network; choose {listed}.{nearest(name, known)}'
