"""A device that is not there: its tensors say "meta", refuse those of the CPU, and have numbers.

Where no GPU is at hand, this finds what mixes devices or reads numbers without fetching them. As
with CUDA, a single number may come from the CPU, and so may places to index at.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
MOVES = ("copy_", "_to_copy")
INDEXES = ("index", "index_put_", "_index_put_impl_", "index_put")
ANSWERS = ("_local_scalar_dense", "equal", "is_nonzero")


class Away(Tensor):
    """A tensor there; `held` has its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Away":
        made = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
            requires_grad=held.requires_grad,
        )
        made.held = held
        return made

    def __init__(self, held: Tensor) -> None: ...

    def tolist(self) -> Any:
        """Torch fetches these by itself."""
        return self.held.tolist()

    def __repr__(self) -> str:
        return f"Away({self.held})"

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return computed(operation, args, kwargs or {})


def computed(operation, args, kwargs):
    """What an operation gives, there or here; RuntimeError when its tensors are in both places."""
    name = operation.overloadpacket.__name__
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    away = [isinstance(tensor, Away) for tensor in tensors]
    here = [tensor.dim() > 0 and not isinstance(tensor, Away) for tensor in tensors]
    indexed = name in INDEXES and away[0]
    if any(away) and any(here) and name not in MOVES and not indexed:
        raise RuntimeError(f"{name}: expected all tensors to be on the same device")
    empty = [tensor.device == DEVICE and not isinstance(tensor, Away) for tensor in tensors]
    assert not any(empty), "torch.tensor(..., device=) cannot be followed: move it there instead"
    stays = any(away)
    if kwargs.get("device") is not None:
        stays = torch.device(kwargs["device"]).type == DEVICE.type
        kwargs = kwargs | {"device": torch.device("cpu")}
    args, kwargs = tree_map(lambda x: x.held if isinstance(x, Away) else x, (args, kwargs))
    found = operation(*args, **kwargs)
    if not stays or name in ANSWERS:
        return found
    return tree_map(lambda x: Away(x) if isinstance(x, Tensor) else x, found)


class Elsewhere(TorchDispatchMode):
    """While it lasts, tensors can be made there and moved there."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        device = kwargs.get("device")
        asked = device is not None and torch.device(device).type == DEVICE.type
        if asked or any(isinstance(leaf, Away) for leaf in tree_leaves((args, kwargs))):
            return computed(operation, args, kwargs)
        return operation(*args, **kwargs)
