"""The tensors of a model by name, each memory once, and a model filled with such tensors."""

from collections.abc import Mapping

import torch
from torch import nn

from components.errors import DataError


def tensors_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of the model's tensors on the CPU; of those that share memory, the first.

    safetensors refuses tensors that share memory, and its save_model writes the shared names in
    random order, so that equal models would differ in bytes.
    """
    state = model.state_dict()
    return {name: state[name].detach().cpu().contiguous().clone() for name in _distinct(state)}


def fill(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Copy `tensors`, which are those of `tensors_of` by name, shape and dtype, into the model.

    Raises:
        DataError: One is missing, too many, or of another shape or dtype.
    """
    state = model.state_dict()
    names = _distinct(state)
    for name in sorted(names.keys() ^ tensors.keys()):
        problem = "is missing" if name in names else "belongs to no layer"
        raise DataError(f"weight {name!r} {problem}; write it anew")
    for name in names:
        have, want = tensors[name], state[name]
        if (have.shape, have.dtype) != (want.shape, want.dtype):
            raise DataError(
                f"weight {name!r} is {have.dtype} {tuple(have.shape)}, and the model takes "
                f"{want.dtype} {tuple(want.shape)}; write it anew"
            )
    model.load_state_dict(dict(tensors), strict=False)


def _distinct(state: Mapping[str, torch.Tensor]) -> dict[str, None]:
    distinct: dict[str, None] = {}
    seen: set[tuple[object, ...]] = set()
    for name, tensor in sorted(state.items()):
        where = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() == 0 or where not in seen:
            distinct[name] = None
            seen.add(where)
    return distinct
