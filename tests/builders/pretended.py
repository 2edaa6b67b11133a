"""A CUDA device that is not there: tensors "on cuda" compute on the host, and what CUDA refuses is refused.

    with pretended() as seen:
        model.to("cuda")(batch.to("cuda")).logit.sum().backward()
    print(seen)

It answers three questions on a machine without a GPU: does a model train on another device at all (an operation between
two devices, `.numpy()` of a device tensor, a host index of the wrong kind raise what CUDA raises), how often does the
host wait for the device, and how many operations and copies does a step take. A tensor on the device is a `Held`: to
autograd it is a meta tensor, and `inside` is the host's tensor with its numbers. Operators run on the insides.

Random numbers come from the host's generator, so that a training gives what it gives on the CPU where it calls the
same kernels. Time, memory, streams, races, graphs, autocast and kernels written for CUDA are not pretended; attention
runs its plain formula, and a GRU goes step by step.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from unittest.mock import MagicMock, patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA, CPU, META = torch.device("cuda", 0), torch.device("cpu"), torch.device("meta")
TORCH = {"aten", "prim", "prims", "profiler"}
WAITING = {  # the host cannot go on before the device has said how much, or what
    "_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "is_nonzero",
    "unique_dim_consecutive", "_coalesce", "bincount", "equal",
}  # fmt: skip
NO_KERNEL = {"detach", "alias", "lift_fresh", "_unsafe_view", "is_coalesced", "dense_dim", "_nnz"}
INDEX = {"index", "index_put", "index_put_", "_index_put_impl_"}
ELEMENTWISE_ONLY = {  # take no host number without dimensions, unlike elementwise operations
    "_fused_adam_", "_fused_adamw_", "_fused_sgd_", "addmm", "addmv", "baddbmm", "bmm", "cat", "embedding",
    "embedding_dense_backward", "gather", "index_add", "index_add_", "index_copy", "index_copy_", "index_select", "mm",
    "isin", "mv", "native_layer_norm", "scatter", "scatter_", "scatter_add", "scatter_add_", "segment_reduce", "stack",
}  # fmt: skip


@dataclass
class Seen:
    """What the device was asked for.

    Attributes:
        operations: by name, without views; about one launch each.
        waits: of the host for the device, by (operation, place).
        copies: from the host to the device by place.
        bytes: copied to the device, and back.
    """

    operations: Counter = field(default_factory=Counter)
    waits: Counter = field(default_factory=Counter)
    copies: Counter = field(default_factory=Counter)
    bytes: Counter = field(default_factory=Counter)

    def clear(self) -> None:
        """Forget everything."""
        for counter in vars(self).values():
            counter.clear()

    def wait(self, name: str, times: int = 1) -> None:
        """Note that the host waits."""
        if times:
            self.waits[name, place()] += times

    def moved(self, x: Tensor, up: bool) -> None:
        """Note a copy between the host and the device."""
        self.bytes["up" if up else "down"] += x.numel() * x.element_size() if x.layout == torch.strided else 0
        if up:
            self.copies[place()] += 1
        else:
            self.wait("copy to the host")

    def __str__(self) -> str:
        lines = [f"{self.operations.total()} operations, {self.waits.total()} waits, {self.copies.total()} copies up"]
        lines += [f"{count:6} x {name} at {where}" for (name, where), count in self.waits.most_common()]
        return "\n".join(lines)


def place() -> str:
    """Return file and line of the innermost caller outside torch and this file; "backward" where autograd calls."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if frame.f_code.co_name == "_engine_run_backward":
            break
        if file != __file__ and "/torch/" not in file and not file.startswith("<"):
            return f"{'/'.join(file.split('/')[-2:])}:{frame.f_lineno}"
        frame = frame.f_back
    return "backward"


class Held(Tensor):
    """A tensor on the pretended device."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: CUDA)
    is_cuda, is_meta = property(lambda self: True), property(lambda self: False)

    @staticmethod
    def __new__(cls, inside: Tensor) -> Held:
        shape = {"dtype": inside.dtype, "layout": inside.layout, "device": META}
        if inside.layout == torch.strided:
            shape |= {"strides": inside.stride(), "storage_offset": inside.storage_offset()}
        return Tensor._make_wrapper_subclass(cls, inside.size(), **shape)

    def __init__(self, inside: Tensor):
        self.inside = inside

    def get_device(self) -> int:
        return 0

    def __repr__(self, *, tensor_contents=None) -> str:
        return f"Held({self.inside!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _MODES[-1].run(func, args, kwargs or {})

    def __tensor_flatten__(self):  # by which `module.to` exchanges the insides of a parameter and leaves the parameter
        return ["inside"], None

    @staticmethod
    def __tensor_unflatten__(inner, context, size, stride):
        return Held(inner["inside"])


def _inside(x):
    if isinstance(x, Held):
        return x.inside
    return CPU if isinstance(x, torch.device) else x


def _on_device(device) -> bool:
    return device is not None and torch.device(device).type in ("cuda", "meta")


class _Operators(TorchDispatchMode):
    """Every operator that torch runs inside the block."""

    def __init__(self, seen: Seen):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return self.run(func, args, kwargs or {})

    def run(self, func, args: tuple, kwargs: dict):
        name, device = func._schema.name.split("::")[1], kwargs.get("device")
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        here = [x for x in given if isinstance(x, Held)]
        if name in ("_to_copy", "copy_"):
            return self._copy(func, name, args, kwargs)
        self._refuse(name, here, [x for x in given if not isinstance(x, Held)], args)
        if here and func.namespace not in TORCH:  # an operator of a library: its plain body sees the device's tensors
            with self:
                return func._op_dk(torch._C.DispatchKey.CompositeExplicitAutograd, *args, **kwargs)
        made = _on_device(device) if device is not None else bool(here)
        if "pin_memory" in kwargs:
            kwargs = {**kwargs, "pin_memory": False}
        if not here and not made:
            return func(*args, **kwargs)
        self._count(func, name, args, kwargs)
        out = func(*tree_map(_inside, args), **tree_map(_inside, kwargs))
        if not made:
            return out
        known = {id(x.inside): x for x in here}

        def hold(x):
            if not isinstance(x, Tensor):
                return x
            if id(x) not in known:
                return Held(x)
            if torch.Tag.inplace_view in func.tags:  # the outside of a tensor that changes its shape must follow
                with torch._C._DisableTorchDispatch():
                    func(*args, **kwargs)
            return known[id(x)]

        if name == "_pack_padded_sequence":  # the sizes stay on the host
            return hold(out[0]), out[1]
        return tree_map(hold, out)

    def _refuse(self, name: str, here: list[Tensor], there: list[Tensor], args: tuple) -> None:
        """Raise as CUDA does where tensors of two devices meet."""
        if name == "_pack_padded_sequence":
            if isinstance(args[1], Held):
                raise RuntimeError("'lengths' argument should be a 1D CPU int64 tensor")
            return
        if name in ("_pad_packed_sequence", "_pack_padded_sequence_backward"):
            return
        if name in INDEX and isinstance(args[0], Held):  # a device tensor may be indexed from the host
            there = [x for x in args[2:3] if isinstance(x, Tensor) and not isinstance(x, Held)]
        if here and any(x.dim() or name in ELEMENTWISE_ONLY for x in there):
            raise RuntimeError(f"Expected all tensors to be on the same device, found cuda:0 and cpu (in {name})")

    def _count(self, func, name: str, args: tuple, kwargs: dict) -> None:
        if not func.is_view and name not in NO_KERNEL:
            self.seen.operations[name] += 1
        if name in INDEX:
            index = [x for x in args[1] if x is not None]
            one_value = name != "index" and args[2].numel() == 1
            self.seen.wait(name, 0 if one_value else sum(x.dtype in (torch.bool, torch.uint8) for x in index))
            for x in index:
                if not isinstance(x, Held):
                    self.seen.moved(x, up=True)
        elif name == "segment_reduce":  # unless told not to, it checks the lengths
            self.seen.wait(name, 2 if kwargs.get("lengths") is not None and not kwargs.get("unsafe") else 0)
        elif name in WAITING or (name == "repeat_interleave" and kwargs.get("output_size") is None):
            self.seen.wait(name)

    def _copy(self, func, name: str, args: tuple, kwargs: dict):
        if name == "copy_":
            target, x = args[0], args[1]
            func(*tree_map(_inside, args), **kwargs)
            up, out = isinstance(target, Held), target
        else:
            x, device = args[0], kwargs.get("device")
            up = _on_device(device) if device is not None else isinstance(x, Held)
            found = func(_inside(x), *args[1:], **{**kwargs, "device": CPU, "pin_memory": False})
            out = Held(found) if up else found
        if up != isinstance(x, Held):
            self.seen.moved(_inside(x), up)
        elif up:
            self.seen.operations[name] += 1
        return out


class _Functions(TorchFunctionMode):
    """What torch answers before it comes to an operator."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, x = kwargs or {}, args[0] if args else None
        if isinstance(x, Held):
            if func in (Tensor.numpy, Tensor.__array__):
                raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
            if func is Tensor.data_ptr:
                raise RuntimeError("the host cannot read at the address of a device tensor")
            if func in (Tensor.untyped_storage, Tensor.storage, Tensor._typed_storage):
                return func(x.inside)
            if func in (Tensor.tolist, Tensor.__index__):
                return func(x.cpu())
            if func in (Tensor.__getitem__, Tensor.__setitem__):  # lists become tensors below any dispatch
                args = (x, tree_map(_as_index, args[1], is_leaf=lambda y: isinstance(y, list)), *args[2:])
        if func is torch.device:
            return func(*args, **kwargs)
        if func is Tensor.cuda:
            return x.to(CUDA)
        if func is Tensor.is_pinned:
            return getattr(x, "was_pinned", False)
        if func is Tensor.pin_memory:
            if isinstance(x, Held):
                raise RuntimeError("only dense CPU tensors can be pinned")
            out = x.clone()
            out.was_pinned = True
            return out
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and _on_device(kwargs.get("device")):
            return func(*args, **{**kwargs, "device": CPU}).to(CUDA)
        if func is Tensor.new_tensor:
            device = kwargs.pop("device", x.device)
            return torch.tensor(*args[1:], **{"dtype": x.dtype, **kwargs}).to(device)
        if func is F.scaled_dot_product_attention and any(isinstance(y, Held) for y in args):
            return _attention(*args, **kwargs)
        return func(*tree_map(_as_meta, args), **tree_map(_as_meta, kwargs))


def _as_index(x):
    if isinstance(x, list | np.ndarray):
        return torch.tensor(x, dtype=None if len(x) else torch.long).to(CUDA)
    return x


def _as_meta(x):
    """Name the device by what stands for it: this build of torch would look for a GPU."""
    named = (isinstance(x, torch.device) and x.type == "cuda") or (isinstance(x, str) and x in ("cuda", "cuda:0"))
    return META if named else x


def _attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, **how):
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(~attn_mask, -torch.inf)
    plain = torch.ops.aten._scaled_dot_product_attention_math
    return plain(query, key, value, attn_mask, dropout_p, is_causal, dropout_mask=None, **how)[0]


_MODES: list[_Operators] = []


def _answers() -> dict[str, object]:
    """Return what `torch.cuda` answers inside the block, by name."""
    nothing = dict.fromkeys(("_lazy_init", "init", "set_device", "synchronize", "empty_cache", "set_rng_state"))
    plain = {"is_available": True, "is_initialized": True, "device_count": 1, "current_device": 0,
             "get_device_name": "pretended", "get_device_capability": (9, 0), "memory_allocated": 0}  # fmt: skip
    found = {name: (lambda *_, _answer=answer, **__: _answer) for name, answer in (plain | nothing).items()}
    idle = ("Stream", "Event", "current_stream", "default_stream")
    found |= {name: lambda *_, **__: MagicMock(**{"query.return_value": True}) for name in idle}
    found |= {name: lambda *_, **__: nullcontext() for name in ("device", "stream", "device_of")}
    found |= {name: torch.default_generator.manual_seed for name in ("manual_seed", "manual_seed_all")}
    return found | {"get_rng_state": lambda *_: torch.get_rng_state()}


@contextmanager
def pretended() -> Iterator[Seen]:
    """A block in which there is one CUDA device; gives what it is asked for."""
    import torch.optim.optimizer as optimizer
    import torch.utils._foreach_utils as foreach

    def applied(self, fn, recurse=True, apply=nn.Module._apply):  # a parameter stays the same object, as on CUDA
        with patch.object(torch.__future__, "_swap_module_params_on_conversion", True):
            return apply(self, fn, recurse)

    seen = Seen()
    mode = _Operators(seen)
    changes = [(torch.cuda, name, answer) for name, answer in _answers().items()]
    changes += [(nn.Module, "_apply", applied)]
    changes += [(Tensor, "pin_memory", lambda x: x), (Tensor, "record_stream", lambda x, stream: None)]
    changes += [(foreach, "_get_foreach_kernels_supported_devices", lambda: ["cuda", "meta"])]
    changes += [(m, "_foreach_supported_types", [*m._foreach_supported_types, Held]) for m in (optimizer, foreach)]
    with ExitStack() as stack:
        for owner, name, value in changes:
            stack.enter_context(patch.object(owner, name, value))
        stack.enter_context(_Functions())
        stack.enter_context(mode)
        _MODES.append(mode)
        stack.callback(_MODES.remove, mode)
        yield seen
