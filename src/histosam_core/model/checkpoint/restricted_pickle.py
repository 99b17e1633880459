"""A pickle module that makes tensors and plain values, and nothing else.

SimpleClick's checkpoints hold an object and a function of its own beside the weights, which
``torch.load(weights_only=True)`` refuses. With this module in place of `pickle` these two names get
stand-ins that do nothing, and any other name that is not in a plain state_dict is refused.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any

from torch import _utils

STAND_INS = frozenset(
    f"isegm.model.modeling.transformer_helper.cross_entropy_loss.{name}"
    for name in ("CrossEntropyLoss", "cross_entropy")
)
"""The names in SimpleClick's configuration that have stand-ins."""

# torch.load itself answers for storages.
_PLAIN: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "__builtin__.set": set,
}
_MAKERS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor_v2": _utils._rebuild_tensor_v2,
    "torch._utils._rebuild_parameter": _utils._rebuild_parameter,
}


class Unpickler(pickle.Unpickler):
    """An unpickler that knows `STAND_INS` and what a state_dict is made of."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Return what a name in the file stands for; refuse the unexpected in torch's words."""
        name = f"{module_name}.{global_name}"
        if name in _PLAIN:
            return _PLAIN[name]
        if name in _MAKERS:
            return _Maker(_MAKERS[name])
        if name in STAND_INS:
            # One for each name and file: a pickle may set attributes on what it has got.
            return type(global_name, (), {})
        raise pickle.UnpicklingError(f"Unsupported global: GLOBAL {name}")


class _Maker:
    """Calls a function; a file that sets attributes sets them here, not on the function."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)


def load(file: IO[bytes], **options: Any) -> Any:
    """Read one object, as `pickle.load` does; torch's files of before 1.6 are several."""
    return Unpickler(file, **options).load()
