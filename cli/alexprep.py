"""alexprep: images to shards and statistics."""

import click

from .prep.adopt import adopt
from .prep.completion import completion
from .prep.demo_images import demo_images
from .prep.doctor import doctor
from .prep.inspect import inspect
from .prep.pca import pca
from .prep.push import push
from .prep.repair import repair
from .prep.shard import shard
from .prep.verify import verify
from .streams import Program
from .terminal import GROUP_SETTINGS, examples, version_option


@click.group(
    cls=Program,
    context_settings=GROUP_SETTINGS,
    epilog=examples("alexprep shard /imagenet --dry-run", "alexprep shard /imagenet", "alexprep inspect"),
)
@version_option
def alexprep() -> None:
    """Prepare images: shards, statistics, checks."""


for command in (shard, adopt, pca, inspect, verify, repair, push, doctor, demo_images, completion):
    alexprep.add_command(command)

if __name__ == "__main__":
    alexprep()
