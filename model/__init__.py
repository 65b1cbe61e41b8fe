"""Batches to a trained and evaluated two-column AlexNet.

Recipes and wiring tables are plain data; `Network`, `Trainer` and `Evaluation` need torch. Each is imported when it is
first asked for.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

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
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
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
        },
    )

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
