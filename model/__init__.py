"""Batches to a trained and evaluated two-column AlexNet.

Recipes and wiring tables are plain data; `Network`, `Trainer` and `Evaluation` need torch. Each is imported when it is
first asked for.
"""

from typing import TYPE_CHECKING, Any

from ..extras import explained_imports

if TYPE_CHECKING:
    from .evaluation.evaluate import Evaluation, evaluate
    from .evaluation.forward import features
    from .evaluation.load import load_network
    from .evaluation.result import EvaluationResult
    from .evaluation.trained import TrainedNetwork
    from .network.network import Network
    from .network.switches import Switches
    from .network.tables import wiring
    from .runs.load import load_recipe
    from .runs.recipe import Recipe
    from .training.trainer import Trainer

__all__ = [
    "Evaluation",
    "EvaluationResult",
    "Network",
    "Recipe",
    "Switches",
    "TrainedNetwork",
    "Trainer",
    "evaluate",
    "features",
    "load_network",
    "load_recipe",
    "wiring",
]

_LAZY = {
    "Evaluation": ".evaluation.evaluate",
    "EvaluationResult": ".evaluation.result",
    "Network": ".network.network",
    "Recipe": ".runs.recipe",
    "Switches": ".network.switches",
    "TrainedNetwork": ".evaluation.trained",
    "Trainer": ".training.trainer",
    "evaluate": ".evaluation.evaluate",
    "features": ".evaluation.forward",
    "load_network": ".evaluation.load",
    "load_recipe": ".runs.load",
    "wiring": ".network.tables",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        with explained_imports():
            return getattr(import_module(_LAZY[name], __package__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
