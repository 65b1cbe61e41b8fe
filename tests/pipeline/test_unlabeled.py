"""Images stored without labels have the label -1 wherever they are read, and no class of another split."""

from pathlib import Path

import pytest
from PIL import Image

from alexkit.errors import InputError
from alexkit.pipeline import CenterCrop, ClassBalanced, Loader, Mix, TrainAugment
from alexkit.prep import BuildOptions, PixelOptions, ShardSet, SourceOptions, build_shards, open_source, verify_set
from alexkit.prep.build.integrity.repair import repair_set

OPTIONS = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=4, num_workers=1)
Unlabeled = SourceOptions(unlabeled=True)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Six images of one color each, stored without labels."""
    (tmp_path / "images/test").mkdir(parents=True)
    for i in range(6):
        Image.new("RGB", (40, 32), (40 * i, 90, 30)).save(tmp_path / f"images/test/{i}.png")
    build_shards(open_source(tmp_path / "images", Unlabeled), tmp_path / "shards", OPTIONS)
    return tmp_path / "shards"


def test_the_loader_gives_no_label(shards: Path) -> None:
    with Loader(shards / "test", batch_size=6, augment=CenterCrop(crop=32, mean="none")) as loader:
        (batch,) = loader
        assert batch.labels.tolist() == [-1] * 6 and loader.classes == ["unlabeled"]


def test_options_that_need_labels_refuse_unlabeled_images(shards: Path) -> None:
    train = TrainAugment(crop=32, mean="none", jitter="off")
    for change, words in (
        ({"sampling": ClassBalanced()}, "ClassBalanced needs a class for every sample, but 6 have no label"),
        ({"mix": Mix(mixup=0.2)}, "mix turns labels into probabilities, but 6 samples have no label"),
    ):
        with pytest.raises(InputError, match=words):
            Loader(shards / "test", batch_size=2, augment=train, **change)  # type: ignore[arg-type]


def test_they_are_checked_and_repaired_like_others(shards: Path) -> None:
    folder, before = shards / "test", (shards / "test/index.bin").read_bytes()
    for depth in ("hashes", "decode"):
        assert verify_set(folder, depth=depth) == []
    (folder / "index.bin").unlink()
    source = open_source(shards.parent / "images", Unlabeled)
    repair_set(folder, source, verify_set(folder), num_workers=1, on_progress=lambda done: None)
    assert (folder / "index.bin").read_bytes() == before


def test_they_are_a_source_of_unlabeled_images(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"label -1, which means no label; pass --unlabeled to store images without"):
        open_source(shards)
    build_shards(open_source(shards, Unlabeled), tmp_path / "again", OPTIONS)
    again = ShardSet.open(tmp_path / "again/test")
    assert again.sample_index().labels_N.tolist() == [-1] * 6
    assert again.source_of(again.sample_index().key(0)).startswith("test/test-00000.tar:")


def test_they_are_inspected(shards: Path) -> None:
    from alexkit.prep.reports.duplicates import same_bytes
    from alexkit.prep.reports.inspect import inspection_page
    from alexkit.prep.reports.survey import survey_set

    survey = survey_set(shards / "test")
    page = inspection_page([survey], same_bytes([survey.shard_set]), [])
    assert "unlabeled" in page
