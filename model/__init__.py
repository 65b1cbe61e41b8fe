"""Batches to a trained and evaluated two-column AlexNet.

Recipes and wiring tables are plain data; `Network`, `Trainer` and `Evaluation` need torch, which is imported when one
of them is first asked for.
"""

from typing import TYPE_CHECKING, Any

from .recipe import Recipe as Recipe
from .recipe import load_recipe as load_recipe
from .wiring import Switches as Switches
from .wiring import wiring as wiring

if TYPE_CHECKING:
    from .ensemble import Evaluation as Evaluation
    from .network import Network as Network
    from .trainer import Trainer as Trainer

_HEAVY = {"Network": "network", "Trainer": "trainer", "Evaluation": "ensemble"}


def __getattr__(name: str) -> Any:
    if name in _HEAVY:
        from importlib import import_module

        return getattr(import_module(f".{_HEAVY[name]}", __package__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
