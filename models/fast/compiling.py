"""Blocks compiled one by one: the graph of a pass would be unrolled over all its loops.

For training on a GPU. On a CPU compiling takes longer than a small run and gains nothing.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from models.layers.block import Block


def compile_blocks(model: nn.Module) -> None:
    """Compiles the forward pass of every block, in place; the weights stay where they are.

    The block whose output only the head reads runs as written, since it is computed at selected
    positions (`SparseQueries.forward_at`).

    `torch.compiler.nested_compile_region` would compile equal blocks once, but its gradients of
    shared weights are wrong (torch 2.13).
    """
    for block in _blocks(model):
        block.compile()


def as_written(model: nn.Module) -> AbstractContextManager:
    """In which blocks run as written: a probe asks for shapes that are not worth compiling."""
    compiled = any(block._compiled_call_impl is not None for block in _blocks(model))
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


def _blocks(model: nn.Module) -> list[Block]:
    return [module for module in model.modules() if isinstance(module, Block)]
