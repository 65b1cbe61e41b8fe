"""alexkit prep|train|eval: the three commands in one group, for `python -m alexkit`."""

import click

from .alexeval import alexeval
from .alexprep import alexprep
from .alextrain import alextrain
from .streams import Program
from .terminal import GROUP_SETTINGS, examples, version_option


@click.group(
    cls=Program,
    context_settings=GROUP_SETTINGS,
    epilog=examples("python -m alexkit prep shard /imagenet", "python -m alexkit train recipes"),
)
@version_option
def alexkit() -> None:
    """ImageNet to shards, shards to batches, and the two-column AlexNet of 2012."""


alexkit.add_command(alexprep, "prep")
alexkit.add_command(alextrain, "train")
alexkit.add_command(alexeval, "eval")
