"""Modules in other hands: the same weights, but for some of their children."""

import copy
from typing import Any, TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def with_children(module: M, **children: nn.Module) -> M:
    """A view of a module in which these children stand in place of its own.

    It shares everything else with the module, hooks too, is part of no model, and is never
    compiled. It is made anew wherever it is called: a copy of a few references.
    """
    view: Any = copy.copy(module)  # which leaves out what was compiled
    view._modules = {**module._modules, **children}
    return view
