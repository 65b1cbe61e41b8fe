"""Laws of listings as columns: in any order, with any labels, they hold what lists of images would."""

import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexkit.errors import InputError
from alexkit.prep import open_source
from alexkit.prep.sources.arrays.image import ArrayImage, PixelArray
from alexkit.prep.sources.columns import gathered, listed, ordered
from alexkit.prep.sources.columns.gathered import Gathered
from alexkit.prep.sources.columns.listed import ListedImages
from alexkit.prep.sources.columns.ordered import in_order, relabeled, selected
from alexkit.prep.sources.folders.store_folder import StoreImage
from alexkit.prep.sources.folders.zip_folder import ZipImage
from alexkit.prep.sources.inputs import Extra, FileImage, SourceImage, SourceSplit, lines_of
from alexkit.prep.sources.labels import LabeledImages
from alexkit.prep.sources.recordio.image import RecordImage
from alexkit.prep.sources.tfrecords.image import ExampleImage
from alexkit.prep.sources.val_fraction import hold_out
from alexkit.prep.storage import StoreUrl


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a hundred images are many chunks."""
    for module in (gathered, listed, ordered):
        monkeypatch.setattr(module, "_CHUNK", 7)


def files(rng: random.Random, count: int) -> list[SourceImage]:
    """In no order; some names twice, some not UTF-8, some empty, some not the end of their path."""
    names = [rng.choice(["", "a", "b", "ä", "\udcff", "\ue000", "zz"]) * rng.randrange(3) for _ in range(count)]
    ends = [rng.choice([name, name, name, "other"]) for name in names]
    return [
        FileImage(f"x/{name}", rng.randrange(4), f"/{rng.randrange(3)}/{end}", rng.randrange(2**40), 512 * (end == "a"))
        for name, end in zip(names, ends, strict=True)
    ]


def with_extras(rng: random.Random, count: int) -> list[SourceImage]:
    return [
        image.keeping(Extra("txt", b"\xff" * rng.randrange(3))) if rng.random() < 0.2 else image
        for image in files(rng, count)
    ]


def of_all_kinds(rng: random.Random, count: int) -> list[SourceImage]:
    made: list[SourceImage] = []
    for image in files(rng, count):
        store = StoreImage(image.name, image.label, StoreUrl("s3", "b", image.name), 5, rng.choice([None, '"tag"']))
        zipped = ZipImage(image.name, image.label, "/z.zip", 7, rng.randrange(999), 6, rng.random() < 0.5, 2**32 - 1)
        record = RecordImage(image.name, image.label, "/train.rec", 7, rng.choice([0, 2**33]))
        example = ExampleImage(image.name, image.label, "/x.tfrecord", rng.randrange(9), 40, 12, rng.randrange(2**40))
        pixels = PixelArray("/x.npz", rng.randrange(9), 99, 12, "CHW", 2, 2, 3, "deflate", 7, 2**40, rng.random() < 0.5)
        row = ArrayImage(image.name, image.label, pixels, rng.randrange(99))
        made.append(rng.choice([image, store, zipped, record, example, row]))
    return made


def constant(rng: random.Random, count: int) -> list[SourceImage]:
    return [FileImage("x/1.jpg", 1, "/x/1.jpg", 5)] * count


def first_alone(rng: random.Random, count: int) -> list[SourceImage]:
    """Only the first has a rest."""
    return [FileImage("x/1.jpg", 1, "/x/1.jpg", 5), *[FileImage("x/", 1, "/x/", 5)] * (count - 1)][:count]


DRAWN = [files, with_extras, of_all_kinds, constant, first_alone]


@pytest.mark.parametrize("count", [0, 1, 7, 100])
@pytest.mark.parametrize("draw", DRAWN)
def test_columns_are_sorted_relabeled_and_chosen_from_as_lists_are(
    draw: Callable[[random.Random, int], list[SourceImage]], count: int
) -> None:
    rng = random.Random(f"{draw.__name__} {count}")
    images = draw(rng, count)
    columns = Gathered().extend(images).images()
    assert isinstance(columns, ListedImages) and list(columns) == images
    assert columns.labels().tolist() == [image.label for image in images]
    assert b"".join(columns.lines()) == b"".join(lines_of(images))

    expected = sorted(images, key=lambda image: (image.label, image.name))
    assert list(in_order(columns)) == in_order(images) == expected
    assert list(in_order(in_order(columns))) == expected

    new, ids = [3, 0, 2, 0], ["cat", "dö\udc80g", "eel", "fox"]
    for class_ids in (None, ids):
        changed = relabeled(columns, new, class_ids)
        assert list(changed) == relabeled(images, new, class_ids)
        assert list(in_order(changed)) == in_order(relabeled(images, new, class_ids))

    places = np.array(rng.sample(range(count), count // 2), np.int64)
    assert list(selected(columns, places)) == [images[place] for place in places]
    assert list(in_order(selected(columns, places))) == in_order(selected(images, places))


@pytest.mark.parametrize("draw", DRAWN)
def test_a_validation_split_is_the_same_out_of_columns_and_lists(
    draw: Callable[[random.Random, int], list[SourceImage]],
) -> None:
    images = in_order(draw(random.Random(0), 100))
    halves = [
        hold_out(SourceSplit(name="train", classes=(), images=some), 0.3)
        for some in (images, Gathered().extend(images).images())
    ]
    assert [list(split.images) for split in halves[0]] == [list(split.images) for split in halves[1]]
    assert [split.fingerprint() for split in halves[0]] == [split.fingerprint() for split in halves[1]]


def test_a_missing_label_names_its_first_image() -> None:
    rows = LabeledImages()
    for number, label in enumerate(["cat", "dog", None, "cat", None]):
        rows.add(label, FileImage(f"{number}.jpg", 0, f"/{number}.jpg", 1))
    with pytest.raises(InputError, match=r"2\.jpg: no label"):
        rows.split("train", lambda image: image.name)


def test_listing_takes_little_more_memory_than_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (tmp_path / "train").mkdir()
    (tmp_path / "one").touch()
    for number in range(40):
        folder = tmp_path / f"train/n{number:08d}"
        folder.mkdir()
        for i in range(500):
            (folder / f"n{number:08d}_{i}.JPEG").hardlink_to(tmp_path / "one")
    tracemalloc.start()
    source = open_source(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    images = source.splits[0].images
    assert isinstance(images, ListedImages) and len(images) == 20_000
    assert peak < 6_000_000  # as objects 15,000,000
