"""alextrain: trains a network on a shard set into a run folder."""

from .default_group import DefaultGroup
from .train.train import train

alextrain = DefaultGroup("alextrain", default=train, context_settings={"help_option_names": ["-h", "--help"]})

if __name__ == "__main__":
    alextrain()
