"""alexprep push: upload shard sets to the Hugging Face Hub."""

import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..locations import copy_of
from ..terminal import examples, if_interrupted, is_set, one_line_errors
from .arguments import named_or_default, sets_of

if TYPE_CHECKING:
    from ...prep import ShardSet


@click.command(epilog=examples("alexprep push my-name/my-images", "alexprep push shards/val my-name/my-images"))
@click.argument("words", nargs=-1, required=True, metavar="[SHARDS] ORG/NAME")
@click.option("--public", is_flag=True, help="Make a new repository public; ImageNet's license forbids this.")
@one_line_errors
def push(words: tuple[str, ...], public: bool) -> None:
    """Upload SHARDS to the Hugging Face Hub, private by default.

    SHARDS is a shard set or a folder of shard sets; the default is $ALEXKIT_SHARDS, else ./shards.

    The dataset card is built from the manifests, including those of splits already in the repository; a README.md of
    your own is kept. Tars and .idx files of an earlier set of the same split that SHARDS lacks are deleted.
    sources.jsonl is uploaded too, since the manifests hold its hash; if it contains absolute paths or URLs, a warning
    comes before the upload. To continue an interrupted upload, run the same command again.
    """
    from ...hub import files_there, push_folder
    from ...prep import ShardSet

    if len(words) > 2:
        raise click.UsageError(f"expected [SHARDS] ORG/NAME, got {len(words)} arguments: {' '.join(words)}")
    name = words[-1]
    shards = named_or_default(words[:-1])
    folders = sets_of(shards if isinstance(shards, Path) else copy_of(shards, click.get_current_context()))
    shard_sets = [ShardSet.open(folder) for folder in folders]
    for folder in folders:
        _warn_of_whole_paths(folder)
    if is_set("quiet"):
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # read when huggingface_hub is imported
    if_interrupted("uploaded files stay on the Hub; the same command continues")
    there = files_there(name, kind="dataset")
    card = _card(shard_sets, name, there)
    for shard_set in shard_sets:
        split = shard_set.manifest.split
        files = _files_of(shard_set)
        old = [path.removeprefix(f"{split}/") for path in there if path.startswith(f"{split}/")]
        url = push_folder(
            shard_set.folder,
            name,
            kind="dataset",
            public=public,
            card=card,
            files=files,
            into=split,
            delete=[file for file in old if file.endswith((".tar", ".idx")) and file not in files],
        )
    click.echo(url)


def _files_of(shard_set: "ShardSet") -> list[str]:
    """The names of all files that a set may have."""
    from ...prep.format.source_table import SOURCES_NAME

    files = ["manifest.json", "index.bin", SOURCES_NAME, "statistics.npz", "quarantine.jsonl"]
    files += [shard.name for shard in shard_set.manifest.shards]
    return files + [f"{Path(shard.name).stem}.idx" for shard in shard_set.manifest.shards]


def _card(shard_sets: Sequence["ShardSet"], name: str, there: Sequence[str]) -> str | None:
    """The card of all splits, those on the Hub too; None if the repository has a card that alexkit did not write."""
    from ...hub import CARD_NAME, fetch, has_card_of_its_own
    from ...prep import Manifest, ShardSet
    from ...prep.format.dataset_card import dataset_card
    from ...prep.format.shard_set import SPLITS
    from ...prep.storage import StoreUrl

    if has_card_of_its_own(name, there, kind="dataset"):
        logging.getLogger("alexkit").warning(
            "%s: its %s was not written by alexkit and is kept; 'datasets' may not find the splits from it",
            name,
            CARD_NAME,
        )
        return None
    of_split = {one.manifest.split: one for one in shard_sets}
    with tempfile.TemporaryDirectory(prefix="alexkit-push-") as folder:
        for split in SPLITS:
            if split not in of_split and f"{split}/manifest.json" in there:
                for file in ("manifest.json", "index.bin"):  # the index tells whether images have extras
                    if f"{split}/{file}" in there:
                        fetch(name, f"{split}/{file}", Path(folder), kind="dataset")
                url = StoreUrl("hf", "datasets", f"{name}/{split}")
                of_split[split] = ShardSet(
                    folder=Path(folder, split), manifest=Manifest.read(Path(folder, split)), url=url
                )
        return dataset_card([of_split[split] for split in SPLITS if split in of_split], name)


def _warn_of_whole_paths(folder: Path) -> None:
    from ...prep.format.source_table import SOURCES_NAME, whole_paths

    count, example = whole_paths(folder)
    if count:
        logging.getLogger("alexkit").warning(
            "%s: contains %d absolute paths or URLs, e.g. %s, visible to all who can read the repository; sets made "
            "from a list of paths relative to its folder contain none",
            folder / SOURCES_NAME,
            count,
            example,
        )
