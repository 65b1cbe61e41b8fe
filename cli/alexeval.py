"""alexeval: error rates, predictions and exports of trained networks."""

from .default_group import DefaultGroup
from .eval.claims import claims
from .eval.codes import codes
from .eval.curves import curves
from .eval.evaluate import evaluate
from .eval.export import export
from .eval.filters import filters
from .eval.neighbors import neighbors
from .eval.predict import predict
from .eval.push import push
from .terminal import GROUP_SETTINGS, version_option

alexeval = version_option(DefaultGroup("alexeval", default=evaluate, context_settings=GROUP_SETTINGS))
for command in (predict, neighbors, curves, filters, export, push, codes, claims):
    alexeval.add_command(command)

if __name__ == "__main__":
    alexeval()
