"""A second device that is simulated: tensors that say they are on `xla:0` and live on the CPU.

It has that name because torch starts no driver for it.

Whatever a GPU would refuse is refused: operands of two devices, but for CPU tensors of one number;
index tensors of the device on a tensor of the CPU; numpy on the device's tensors. Kernels are those
of the CPU, so that results are its own. No rule is known for what a GPU computes differently.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

DEVICE = torch.device("xla", 0)
CPU = torch.device("cpu")
_aten = torch.ops.aten
# They take indices of the CPU for tensors of the device, and not the other way round.
INDEXING = (_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default)
INDEXING += (_aten._index_put_impl_.default, _aten._unsafe_index.Tensor)
COPIES = (_aten.copy_.default,)
# Views that torch marks by a bit, which a tensor that wraps another has not.
MARKED = {
    _aten._conj.default: _aten._conj_physical.default,
    _aten._neg_view.default: _aten.neg.default,
}


class OnDevice(Tensor):
    """A tensor of the device; `inner` holds its numbers."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnDevice:
        made = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=inner.device,  # what torch itself sees: it has no kernels for the other
            requires_grad=inner.requires_grad,
        )
        made.inner = inner.detach()
        return made

    @property
    def device(self) -> torch.device:
        return DEVICE

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnDevice({self.inner!r})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class Simulation(TorchDispatchMode):
    """Within, tensors that are made on the device are the simulated ones."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class Making(TorchFunctionMode):
    """Tensors of numbers are made on the CPU first, as they are for a GPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        if args and isinstance(args[0], OnDevice):
            if func in (Tensor.tolist, Tensor.cpu):
                return func(args[0].inner, *args[1:], **kwargs)
            given = [*args[1:], *kwargs.values()]
            if func is Tensor.to and any(each in (CPU, "cpu") for each in given):
                return func(args[0].inner, *args[1:], **kwargs)
        return func(*args, **kwargs)


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operator, on the device if it belongs there."""
    flat = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
    here = any(isinstance(each, OnDevice) for each in flat)
    target = kwargs.get("device")
    wanted = target is not None and torch.device(target).type == DEVICE.type
    if target is not None:
        if wanted:  # others stay, "meta" above all: a model's buffers are computed after it
            kwargs = kwargs | {"device": CPU}
        # A backward makes zeros, and puts copies, where torch takes the device's tensors to be.
        in_backward = torch._C._current_autograd_node() is not None
        here = wanted or (in_backward and (here or func is not _aten._to_copy.default))
    elif func in COPIES:
        here = isinstance(args[0], OnDevice)
    elif here:
        check(func, args, flat)
    if func is _aten._local_scalar_dense.default:
        here = False
    plain = tree_map_only(OnDevice, lambda each: each.inner, (args, kwargs))
    found = MARKED.get(func, func)(*plain[0], **plain[1])
    if not here:
        return found
    return wrapped(func, found, args, plain[0])


def wrapped(func: Any, found: Any, args: Any, plain: Any) -> Any:
    """The operator's result on the device; what it wrote into stays the tensor that it was."""
    known = {
        id(inner): outer
        for inner, outer in zip(tree_flatten(plain)[0], tree_flatten(args)[0], strict=True)
        if isinstance(outer, OnDevice)
    }

    def of(each: Tensor) -> Tensor:
        return known[id(each)] if id(each) in known else OnDevice(each)

    return tree_map_only(Tensor, of, found)


def check(func: Any, args: Any, flat: list[Tensor]) -> None:
    """Raise as a GPU would where tensors of two devices meet."""
    if func in INDEXING:
        flat = [each for each in flat if each is args[0] or isinstance(each, OnDevice)]
        flat += [args[2]] if len(args) > 2 and isinstance(args[2], Tensor) else []
    strangers = [each for each in flat if not isinstance(each, OnDevice) and each.dim() > 0]
    if strangers:
        shapes = [tuple(each.shape) for each in strangers]
        raise RuntimeError(f"{func}: expected all tensors on {DEVICE}, but {shapes} are on the cpu")


def to_device(module: nn.Module) -> None:
    """Move a module's parameters and buffers."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            moved = nn.Parameter(OnDevice(parameter.detach()), parameter.requires_grad)
            part._parameters[name] = moved
        for name, buffer in part.named_buffers(recurse=False):
            part._buffers[name] = OnDevice(buffer)


@contextmanager
def simulated() -> Iterator[None]:
    """The device is there within."""
    with Making(), Simulation():
        yield
