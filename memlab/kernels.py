"""Write a Triton kernel and run it wherever you are: on the GPU, in Triton's interpreter, or in a stand-in of forty lines.

    from memlab.kernels import HOW, jit, tl

`HOW` says which of the three it is. The stand-in knows what a row-wise kernel needs (`program_id`, `arange`, `load`, `store`,
`sum`, `sqrt`) and runs one program after the other on PyTorch tensors. Import this module before anything imports triton.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
from types import SimpleNamespace

import torch

__all__ = ["HOW", "jit", "tl"]


class _Pointer:
    """A place in a tensor, or many: what `x + 3` and `x + tl.arange(0, 8)` mean in a kernel."""

    def __init__(self, tensor: torch.Tensor, offset=0):
        self.tensor, self.offset = tensor, offset

    def __add__(self, step) -> _Pointer:
        return _Pointer(self.tensor, self.offset + step)

    __radd__ = __add__


class _StandIn:
    """`kernel[grid](...)`: the function called once for every program of the grid."""

    now = (0, 0, 0)

    def __init__(self, function):
        self.function, self.__doc__ = function, function.__doc__

    def __getitem__(self, grid):
        def launch(*args, **named):
            wrapped = [_Pointer(a.view(-1)) if isinstance(a, torch.Tensor) else a for a in args]
            for _StandIn.now in itertools.product(*map(range, (*grid, 1, 1)[:3])):
                self.function(*wrapped, **named)

        return launch


def _load(pointer: _Pointer, mask=None, other=0.0) -> torch.Tensor:
    if mask is None:
        return pointer.tensor[pointer.offset]
    inside = pointer.tensor[torch.where(mask, pointer.offset, 0)]  # a masked place may lie outside the tensor
    return torch.where(mask, inside, torch.as_tensor(other, dtype=inside.dtype))


def _store(pointer: _Pointer, value, mask=None) -> None:
    if mask is None:
        pointer.tensor[pointer.offset] = value
    else:
        pointer.tensor[pointer.offset[mask]] = value[mask].to(pointer.tensor.dtype)


_late = "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1"  # too late to ask for the interpreter

if importlib.util.find_spec("triton") and (torch.cuda.is_available() or not _late):
    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"  # read when triton is first imported
    import triton
    import triton.language as tl

    jit = triton.jit
    HOW = "on the GPU" if torch.cuda.is_available() else "in Triton's interpreter, on the CPU"
else:
    jit = _StandIn
    _fix = "was imported too early: import memlab.kernels first"
    _why = _fix if _late else "is not installed: pip install triton==3.7.1 (Linux)"
    HOW = f"in memlab's stand-in for Triton, which {_why}"
    tl = SimpleNamespace(
        constexpr=int,
        float32=torch.float32,
        program_id=lambda axis: _StandIn.now[axis],
        arange=torch.arange,
        load=_load,
        store=_store,
        sum=lambda x, axis=0: x.sum(axis),
        sqrt=lambda x: torch.sqrt(torch.as_tensor(x)),
    )
