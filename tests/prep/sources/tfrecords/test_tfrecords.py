"""Laws of TFRecord files: which features are read, which classes they make, and what damage does."""

import gzip
import io
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alexkit.errors import InputError
from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.sources import Source, SourceOptions, open_source
from alexkit.prep.sources.tfrecords import framing
from alexkit.prep.sources.tfrecords.image import ExampleImage

from .writing import example, feature, message, record, write_examples


def png(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 40), (number % 256, number // 256, 9)).save(file, "PNG")
    return file.getvalue()


def row(number: int, label: Any = 0, **more: Any) -> dict[str, Any]:
    return {"image": png(number), "label": label, "file_name": f"{number}.png", **more}


def imagenet(number: int, label: int, synset: str, text: str) -> dict[str, Any]:
    """As build_imagenet_data.py writes it."""
    return {
        "image/encoded": png(number),
        "image/filename": f"{synset}_{number}.JPEG",
        "image/class/label": label,
        "image/class/synset": synset,
        "image/class/text": text,
        "image/object/bbox/label": [label, label],
    }


def classes_of(source: Source) -> list[tuple[str, str]]:
    return [(one.id, one.name) for one in source.splits[0].classes]


def labels_of(source: Source) -> list[tuple[str, int]]:
    return [(image.name, image.label) for image in source.splits[0].images]


def build(source: Source, out: Path) -> Any:
    options = BuildOptions(pixels=PixelOptions(size_px=32), num_workers=1)
    return build_shards(source, out, options, on_split=lambda split: lambda done, num_bad: None)


def test_the_same_images_as_class_folders_and_as_records_give_the_same_shards(
    tmp_path: Path, draw_source: Callable[..., Path], give_the_same_shards: Callable[[Path, Path], None]
) -> None:
    folders = draw_source()
    for split, name in (("train", "train"), ("val", "validation")):
        images = sorted((folders / split).rglob("*.JPEG"), key=lambda path: path.stem[::-1])
        rows = [
            {
                "image/class/text": "words",
                "image/class/label": 7 + int(path.parent.name[1:]),
                "image/encoded": path.read_bytes(),
                "image/class/synset": path.parent.name,
                "image/filename": path.name,
            }
            for path in images
        ]
        for part in range(2):
            write_examples(tmp_path / f"records/{name}-{part:05d}-of-00002", rows[part::2])
    # Class names are in shard sets too.
    (folders / "Labels.json").write_text(json.dumps({f"n{label:08d}": "words" for label in range(3)}))
    give_the_same_shards(folders, tmp_path / "records")


def test_text_names_classes_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    rows = [(1, "zebra"), (2, "ant"), (1, "zebra")]
    write_examples(
        tmp_path / "train-00000-of-00001",
        [
            {"image/encoded": png(i), "image/class/label": label, "image/class/text": text}
            for i, (label, text) in enumerate(rows)
        ],
    )
    found = open_source(tmp_path)
    assert classes_of(found) == [("zebra", "zebra"), ("ant", "ant")]
    assert [image.label for image in found.splits[0].images] == [0, 0, 1]


def test_two_classes_with_one_text_are_refused_and_can_be_told_apart_by_their_numbers(tmp_path: Path) -> None:
    for i, label in enumerate((135, 518)):
        one = {"image/encoded": png(i), "image/class/label": label, "image/class/text": "crane"}
        write_examples(tmp_path / f"train-{i:05d}-of-00002", [one])
    with pytest.raises(InputError, match=r"518 is 'crane', but elsewhere so is 135; .*--label-column image/"):
        open_source(tmp_path)
    found = open_source(tmp_path, SourceOptions(label_column="image/class/label"))
    assert [image.label for image in found.splits[0].images] == [135, 518]


def test_an_order_of_numbers_that_is_not_that_of_synsets_is_noted(tmp_path: Path) -> None:
    write_examples(tmp_path / "train-00000-of-00001", [imagenet(1, 1, "n02", "b"), imagenet(2, 2, "n01", "a")])
    found = open_source(tmp_path)
    assert classes_of(found) == [("n01", "a"), ("n02", "b")]
    assert "image/class/label numbers them in another order" in found.notes[0]


def test_numbers_without_names_are_class_indices_and_a_missing_background_is_noted(tmp_path: Path) -> None:
    write_examples(
        tmp_path / "train-00000-of-00001", [{"image/encoded": png(i), "image/class/label": i} for i in (1, 2)]
    )
    found = open_source(tmp_path)
    assert [one for one, _ in classes_of(found)] == ["0", "1", "2"]
    assert "image/class/label begins at 1, as if 0 were background, and no names are given" in found.notes[0]


@pytest.mark.parametrize("first", [0, 1])
def test_names_beside_the_files_of_slim_are_classes_whatever_they_are_counted_from(tmp_path: Path, first: int) -> None:
    for i in range(2):
        one = {"image/encoded": png(i), "image/class/label": i + first}
        write_examples(tmp_path / f"flowers_train_{i:05d}-of-00002.tfrecord", [one])
    write_examples(tmp_path / "flowers_validation_00000-of-00001.tfrecord", [one])
    (tmp_path / "labels.txt").write_text(f"{first}:roses\n{first + 1}:daisy\n")
    found = open_source(tmp_path)
    assert classes_of(found) == [("roses", "roses"), ("daisy", "daisy")]
    assert [[image.label for image in split.images] for split in found.splits] == [[0, 1], [1]]
    assert found.passed_over == ()


@pytest.mark.parametrize(
    "names",
    [
        ("a.tfrecord",),
        ("a.tfrecords", "b.tfrecords"),
        ("00-512x512-798.tfrec",),
        ("x.tfrecord-00000-of-00002", "x.tfrecord-00001-of-00002"),
        ("part-0-of-2", "part-1-of-2"),
        ("train/00.tfrec",),
        ("data/train-00000-of-00001",),
        ("my_train_0.tfrecord",),
    ],
)
def test_usual_names_of_files_are_recognized(tmp_path: Path, names: tuple[str, ...]) -> None:
    for i, name in enumerate(names):
        write_examples(tmp_path / name, [row(i)])
        (tmp_path / f"{name}.idx").write_text("an index of DALI's")
    found = open_source(tmp_path)
    assert [(split.name, len(split.images)) for split in found.splits] == [("train", len(names))]


def test_missing_files_and_records_are_noted(tmp_path: Path) -> None:
    write_examples(tmp_path / "flowers_train_00000-of-00003.tfrecord", [row(1)])
    assert "1 of 3 files; 2 missing, e.g. flowers_train_00001-of-00003" in open_source(tmp_path).notes[0]
    tfds = tmp_path / "x/1.0.0"
    info = {"name": "x", "splits": [{"name": "train", "shardLengths": ["2", "0"]}]}
    for i, rows in enumerate(([row(1)], [])):
        write_examples(tfds / f"x-train.tfrecord-{i:05d}-of-00002", rows)
    (tfds / "dataset_info.json").write_text(json.dumps(info))
    notes = open_source(tfds).notes
    assert len([note for note in notes if "record" in note]) == 1
    assert "x-train.tfrecord-00000-of-00002: 1 records, but dataset_info.json states 2" in notes[0]


def test_several_data_sets_of_tfds_are_refused_and_named(tmp_path: Path) -> None:
    for name in ("x/1.0.0", "x/2.0.0", "y/big/1.0.0"):
        write_examples(tmp_path / name / "y-train.tfrecord-00000-of-00001", [row(1)])
        for beside in ("dataset_info.json", "features.json"):
            (tmp_path / name / beside).write_text("{}")
    with pytest.raises(InputError, match=r"holds 3 data sets of TFDS: x/1.0.0, x/2.0.0, y/big/1.0.0; pass one"):
        open_source(tmp_path)
    assert "read big/1.0.0, a data set of TFDS" in open_source(tmp_path / "y").notes[0]
    shutil.rmtree(tmp_path / "x")
    (tmp_path / "downloads/extracted").mkdir(parents=True)
    assert len(open_source(tmp_path).splits[0].images) == 1
    (tmp_path / "y/big/1.0.0").rename(tmp_path / "y/big/incomplete.A1B2C3_1.0.0")
    with pytest.raises(InputError, match=r"incomplete.A1B2C3_1.0.0: TFDS has not finished this data set"):
        open_source(tmp_path / "y/big")


def test_integers_packed_or_not_and_values_before_names_are_the_same(tmp_path: Path) -> None:
    # Values before names, of two lists in one feature the last, and an unknown field.
    label = b"\x0a\x00" + message(3, b"\x08\x01\x78\x05")
    turned = [message(2, value) + message(1, name) for name, value in ((b"label", label), (b"image", feature(png(3))))]
    written = [
        example(row(1, 1)),
        example(row(2, 1), packed=False),
        message(1, b"".join(message(1, entry) for entry in turned)),
    ]
    write_examples(tmp_path / "train.tfrecord", written)
    found = open_source(tmp_path)
    assert labels_of(found) == [("1/1.png", 1), ("1/2.png", 1), ("1/train-tfrecord-0000002", 1)]
    assert [image.read() for image in found.splits[0].images] == [png(1), png(2), png(3)]


def test_features_are_chosen_by_the_options_for_columns(tmp_path: Path) -> None:
    rows = [{"x": png(i), "y": png(i + 9), "kind": 1 - i, "weight": 0.5} for i in range(2)]
    write_examples(tmp_path / "train.tfrecord", rows)
    with pytest.raises(InputError, match="several features hold images: x, y; choose one with --image-column"):
        open_source(tmp_path)
    with pytest.raises(InputError, match=r"no feature with a usual name of labels among kind .integers., weight"):
        open_source(tmp_path, SourceOptions(image_column="x"))
    found = open_source(tmp_path, SourceOptions(image_column="y", label_column="kind"))
    assert [image.read() for image in found.splits[0].images] == [png(10), png(9)]
    with pytest.raises(InputError, match="no such feature of bytes among kind"):
        open_source(tmp_path, SourceOptions(image_column="kind"))
    (split,) = open_source(tmp_path, SourceOptions(image_column="x", unlabeled=True)).splits
    assert [one.id for one in split.classes] == ["unlabeled"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row(1, [1, 2])], "label holds several labels; expected one class per image"),
        ([row(1), {**row(2), "image": [png(1), png(2)]}], "byte .*: image holds several images"),
        ([row(1), {"image": png(2)}], "the record at byte .*: no label; expected a class index"),
        ([row(1, 0.5)], r"label is 0.5; expected a class index or a name"),
        ([{"image_raw": bytes(784), "label": 3}], "784 bytes of image_raw; if they are raw pixels, write them again"),
        ([{"a": 1}], r"no feature holds an encoded image .* which have a \(integers\); pass a source of images"),
        (
            [{"image/encoded": png(1), "image/object/class/label": [1, 2]}],
            "examples of object detection .image/object/class/label.*not of one class per image",
        ),
        ([b"no example"], "the record at byte 0 is not a tf.train.Example with features"),
        ([b""], "the record at byte 0 is not a tf.train.Example with features"),
        ([row(1), b"no example"], "the record at byte .* is not a tf.train.Example with features"),
        ([], "TFRecord files without records"),
    ],
)
def test_what_is_not_one_class_per_encoded_image_is_refused(tmp_path: Path, rows: list[Any], words: str) -> None:
    write_examples(tmp_path / "train.tfrecord", rows)
    with pytest.raises(InputError, match=words):
        open_source(tmp_path)


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_large_record_with_several_labels_is_refused_unless_damage_put_them_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_damaged: bool
) -> None:
    """Its checksum is found part by part."""
    monkeypatch.setattr(framing, "_CHUNK", 10)
    content = bytearray(record(example(row(1))) + record(example(row(2, [1, 2]))))
    content[-5] ^= is_damaged  # of the data; 4 bytes of their checksum follow
    (tmp_path / "train.tfrecord").write_bytes(content)
    if not is_damaged:
        with pytest.raises(InputError, match="label holds several labels"):
            open_source(tmp_path)
        return
    (split,) = open_source(tmp_path).splits
    with pytest.raises(InputError, match="is damaged: checksum"):
        split.images[1].read()


@pytest.mark.parametrize(
    ("name", "pack", "way_out"), [("GZIP", gzip.compress, "gzip -dc"), ("ZLIB", zlib.compress, "zlib")]
)
def test_compressed_files_are_refused_with_the_way_out(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes], way_out: str
) -> None:
    path = write_examples(tmp_path / "train-00000-of-00001", [row(1)])
    path.write_bytes(pack(path.read_bytes()))
    with pytest.raises(InputError, match=f"compressed by {name}, .*{way_out}"):
        open_source(tmp_path)


def test_a_damaged_record_is_one_bad_image_and_the_others_are_read(tmp_path: Path) -> None:
    records = [record(example(row(i, i % 2))) for i in range(4)]
    at = len(records[0]) + 12 + records[1][12:].index(b"IDAT")
    content = bytearray(b"".join(records))
    content[at] ^= 1
    (tmp_path / "train.tfrecord").write_bytes(content)
    (built,) = build(open_source(tmp_path), tmp_path / "out")
    (bad,) = built.shard_set.manifest.quarantined
    assert bad.source == "1/1.png" and built.shard_set.manifest.num_samples == 3
    start = len(records[0])
    assert bad.reason.startswith(f"the record at byte {start} is damaged: checksum ") and "expected" in bad.reason


def test_no_class_comes_from_a_damaged_record(tmp_path: Path) -> None:
    """Neither a name that no other record has, nor a record whose features cannot be told apart."""
    records = [record(example(imagenet(i, 1, "n01", "a"))) for i in range(3)]
    records[0] = records[0].replace(b"n01", b"n09", 1).replace(b"n01", b"n09")
    records[1] = records[1].replace(b"image/encoded", b"image/\xff\xff\xff\xff\xff\xff\xff")
    records[2] = records[2].replace(b"\x0a\x11image/class/label", b"\xff\xffimage/class/label")
    records.append(record(example(imagenet(4, 1, "n01", "a"))))
    (tmp_path / "train-00000-of-00001").write_bytes(b"".join(records))
    found = open_source(tmp_path)
    assert classes_of(found) == [("n01", "a")] and len(found.splits[0].images) == 4
    for image in found.splits[0].images:
        if image.name == "n01/n01_4.JPEG":
            assert image.read() == png(4)
        else:
            with pytest.raises(InputError, match=r"is damaged: checksum [0-9a-f]{8}, expected [0-9a-f]{8}"):
                image.read()


def test_a_text_is_not_taken_for_an_image(tmp_path: Path) -> None:
    rows = [{"photo": png(i), "label": text} for i, text in enumerate(("BMW 3 series", "P5"))]
    write_examples(tmp_path / "train.tfrecord", rows)
    assert [one for one, _ in classes_of(open_source(tmp_path))] == ["BMW 3 series", "P5"]


def test_an_example_without_an_image_is_one_bad_image(tmp_path: Path) -> None:
    write_examples(tmp_path / "train.tfrecord", [row(1), {"label": 0, "file_name": "x.png"}, row(2) | {"image": b""}])
    found = open_source(tmp_path).splits[0].images
    assert [(image.name, image.num_bytes > 0) for image in found] == [
        ("0/1.png", True),
        ("0/2.png", False),
        ("0/x.png", False),
    ]
    with pytest.raises(InputError, match="no image in the record at byte"):
        found[1].read()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: one[:-1], "has .* bytes, but the file lacks the last 1 of it; download it again"),
        (lambda one: one + b"\1\2\3", "ends at byte .*, inside the header of a record; download it again"),
        (lambda one: one + b"\1" + bytes(15), "the length of the record at byte .* has checksum .*, expected 0{8}; "),
        (lambda one: b"\1" + one[1:], "at byte 0 has checksum .*, expected .*; not a TFRecord file, or damaged"),
    ],
)
def test_a_file_whose_records_cannot_be_told_apart_is_refused(
    tmp_path: Path, change: Callable[[bytes], bytes], words: str
) -> None:
    path = write_examples(tmp_path / "train-00000-of-00001", [row(1), row(2)])
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=f"train-00000-of-00001: .*{words}"):
        open_source(tmp_path)


def test_a_file_as_source_is_answered_by_its_folder(tmp_path: Path) -> None:
    path = write_examples(tmp_path / "train-00000-of-00001", [row(1)])
    with pytest.raises(InputError, match="train-00000-of-00001: a single TFRecord file; pass its folder"):
        open_source(path)


def test_folders_with_such_names_are_no_files(tmp_path: Path) -> None:
    for name in ("train-1-of-2/cat", "train-2-of-2/cat", "x.tfrecord"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / f"{name[6]}.png").write_bytes(png(1))
    found = open_source(tmp_path, SourceOptions(layout="class-folders"))
    assert [one for one, _ in classes_of(found)] == ["train-1-of-2/cat", "train-2-of-2/cat", "x.tfrecord"]


def test_files_in_what_look_like_class_folders_are_named(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_examples(tmp_path / name / "x.tfrecord", [row(1)])
    with pytest.raises(
        InputError, match=r"first: class without images; it holds files of many images \(x.tfrecord\): "
    ):
        open_source(tmp_path)


def test_a_large_image_is_not_read_while_it_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alexkit.prep.storage import by_offset

    images = [png(i) + bytes(10**6) for i in range(10)]
    write_examples(tmp_path / "train.tfrecord", [{"a": 1, "image": one, "label": 0} for one in images])
    num_read = 0
    read_at = by_offset.DiskFile.read_at

    def counted(self: by_offset.DiskFile, offset: int, num_bytes: int) -> bytes:
        nonlocal num_read
        content = read_at(self, offset, num_bytes)
        num_read += len(content)
        return content

    monkeypatch.setattr(by_offset.DiskFile, "read_at", counted)
    found = open_source(tmp_path).splits[0].images
    assert num_read < 1.1 * 10**6  # the first of the class, whose checksum is verified, and what is around the others
    assert [image.read() for image in found] == images
    assert all(isinstance(image, ExampleImage) for image in found)


def test_an_interrupted_run_is_continued(tmp_path: Path, tree_hashes: Callable[[Path], dict[str, str]]) -> None:
    rows = [{**row(i, i % 3), "file_name": f"{i:03}.png"} for i in range(12)]
    write_examples(tmp_path / "source/train.tfrecord", rows)
    source = open_source(tmp_path / "source")
    options = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=2, num_workers=1)

    def interrupt(done: int, num_bad: int) -> None:
        if list((tmp_path / "twice/.unfinished/train").glob("*.part")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_shards(source, tmp_path / "twice", options, on_split=lambda split: interrupt)
    assert not (tmp_path / "twice/train/manifest.json").exists()
    source = open_source(tmp_path / "source")
    for out in ("twice", "once"):
        build_shards(source, tmp_path / out, options, on_split=lambda split: lambda done, num_bad: None)
    assert tree_hashes(tmp_path / "twice") == tree_hashes(tmp_path / "once")
