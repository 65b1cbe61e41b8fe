"""alexeval: error rates of runs, and a run's network for other programs."""

from .default_group import DefaultGroup
from .eval.evaluate import evaluate

alexeval = DefaultGroup("alexeval", default=evaluate, context_settings={"help_option_names": ["-h", "--help"]})

if __name__ == "__main__":
    alexeval()
