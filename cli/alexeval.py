"""alexeval: error rates of runs, and a run's network for other programs."""

from .default_group import DefaultGroup
from .eval.evaluate import evaluate
from .terminal import GROUP_SETTINGS, version_option

alexeval = version_option(DefaultGroup("alexeval", default=evaluate, context_settings=GROUP_SETTINGS))

if __name__ == "__main__":
    alexeval()
