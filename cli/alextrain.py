"""alextrain: train a network on a shard set and write a run folder."""

from .default_group import DefaultGroup
from .terminal import GROUP_SETTINGS, version_option
from .train.recipes import recipes
from .train.train import train

alextrain = version_option(DefaultGroup("alextrain", default=train, context_settings=GROUP_SETTINGS))
alextrain.add_command(recipes)

if __name__ == "__main__":
    alextrain()
