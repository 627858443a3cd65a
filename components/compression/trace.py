"""What flows where in one forward pass: which module made a tensor, and how often it is used."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Inputs = Sequence[torch.Tensor]
"""What a model's forward takes: one tensor of pictures, or features and codes of a table."""
Value = tuple[int, int]
"""A tensor at one time: its identity, and how often it was changed in place until then."""


@dataclass(frozen=True, slots=True)
class Call:
    """One module at work, with one tensor in and one out."""

    name: str
    module: nn.Module
    input: Value
    output: Value


@dataclass(frozen=True, slots=True)
class Trace:
    """One forward pass."""

    calls: Mapping[str, Call]
    """By name, in the order in which they ended; of modules that were called once."""
    uses: Counter[Value]
    """Operations of torch, wherever in the code, that read each value."""
    outputs: Set[Value]
    """What the model gives."""

    def __iter__(self) -> Iterator[Call]:
        return iter(self.calls.values())

    def readers(self, value: Value) -> list[Call]:
        """The modules without children that were given `value`."""
        return [call for call in self if call.input == value and not any(call.module.children())]


def trace(model: nn.Module, inputs: Inputs) -> Trace:
    """Run `model` once and say what flowed where; the model is left as it was.

    Unlike hooks alone this sees what happens between modules, as the sum of a shortcut, and unlike
    torch.fx it takes any code.

    Args:
        model: On the device of `inputs`; it runs in evaluation mode.
        inputs: A few rows.
    """
    recorder = _Recorder()
    calls: list[Call] = []
    open_calls: dict[str, list[Value | None]] = {}

    def before(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
            # A tensor may be changed in place by the module: here it is not yet.
            given = args[0] if args else None
            value = recorder.value(given) if isinstance(given, torch.Tensor) else None
            open_calls.setdefault(name, []).append(value)

        return hook

    def after(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
            given = open_calls[name][-1]
            if given is not None and isinstance(output, torch.Tensor):
                calls.append(Call(name, module, given, recorder.value(output)))

        return hook

    hooks = []
    for name, module in model.named_modules():
        hooks += [
            module.register_forward_pre_hook(before(name)),
            module.register_forward_hook(after(name)),
        ]
    try:
        with evaluation(model), recorder:
            outputs = model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    once = {call.name: call for call in calls if len(open_calls[call.name]) == 1}
    given = {
        recorder.value(leaf) for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)
    }
    return Trace(once, recorder.uses, given)


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Put every module in evaluation mode, without gradients, and each back as it was."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in flags:
            module.training = training


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the reads of every tensor while it is on."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.uses: Counter[Value] = Counter()
        # While a tensor lives, no other one can have its identity.
        self._kept: dict[int, torch.Tensor] = {}

    def value(self, tensor: torch.Tensor) -> Value:
        self._kept[id(tensor)] = tensor
        # Tensors of inference mode do not count their changes.
        return id(tensor), 0 if tensor.is_inference() else tensor._version

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        _types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        read = tree_leaves((args, kwargs))
        self.uses.update(self.value(leaf) for leaf in read if isinstance(leaf, torch.Tensor))
        return function(*args, **(kwargs or {}))
