"""alexprep push: shard sets to the Hugging Face Hub."""

import logging
import os
from pathlib import Path

import click

from ..locations import copy_of
from ..terminal import examples, if_interrupted, is_set, one_line_errors
from .arguments import named_or_default, sets_of


@click.command(epilog=examples("alexprep push my-name/my-images", "alexprep push shards/val my-name/my-images"))
@click.argument("words", nargs=-1, required=True, metavar="[SHARDS] ORG/NAME")
@click.option("--public", is_flag=True, help="Let everybody see a new repository; ImageNet's license forbids that.")
@one_line_errors
def push(words: tuple[str, ...], public: bool) -> None:
    """Upload SHARDS to the Hugging Face Hub, private by default.

    SHARDS is one set or the folder of several; ./shards unless named here or in ALEXKIT_SHARDS.

    A card is made from the manifests. sources.jsonl goes along, since the manifests hold its hash; where it names files
    of this machine by whole paths, a warning says so before anything is sent. An interrupted upload goes on by the same
    command.
    """
    from ...hub import push_folder
    from ...prep import ShardSet
    from ...prep.format.dataset_card import dataset_card
    from ...prep.format.source_table import SOURCES_NAME

    if len(words) > 2:
        raise click.UsageError(f"name SHARDS and ORG/NAME, not {len(words)} things: {' '.join(words)}")
    name = words[-1]
    shards = named_or_default(words[:-1])
    folders = sets_of(shards if isinstance(shards, Path) else copy_of(shards, click.get_current_context()))
    shard_sets = [ShardSet.open(folder) for folder in folders]
    card = dataset_card(shard_sets, name)
    for folder in folders:
        _warn_of_whole_paths(folder)
    if is_set("quiet"):
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # read when huggingface_hub is imported
    if_interrupted("what was sent is kept at the Hub; the same command goes on")
    for shard_set in shard_sets:
        split = shard_set.manifest.split
        files = ["manifest.json", "index.bin", SOURCES_NAME, "statistics.npz", "quarantine.jsonl"]
        files += [shard.name for shard in shard_set.manifest.shards]
        files += [f"{Path(shard.name).stem}.idx" for shard in shard_set.manifest.shards]
        address = push_folder(
            shard_set.folder, name, kind="dataset", public=public, card=card, patterns=files, into=split
        )
    click.echo(address)


def _warn_of_whole_paths(folder: Path) -> None:
    from ...prep.format.source_table import SOURCES_NAME, whole_paths

    count, example = whole_paths(folder)
    if count:
        logging.getLogger("alexkit").warning(
            "%s: names %d files by whole paths, e.g. %s, for all who see the repository; sets made of a list of paths "
            "relative to its folder have none",
            folder / SOURCES_NAME,
            count,
            example,
        )
