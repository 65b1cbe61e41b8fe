"""Laws of recognizing and listing a source."""

import random
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.sources import SourceOptions, open_source

from .trees import put


def test_train_and_val_are_two_splits_with_one_class_table(tmp_path: Path) -> None:
    source = open_source(put(tmp_path, "train/b/1.jpg", "train/a/2.jpg", "train/a/1.jpg", "val/a/1.jpg", "val/b/9.jpg"))
    train, val = source.splits
    assert [(image.name, image.label) for image in train.images] == [("a/1.jpg", 0), ("a/2.jpg", 0), ("b/1.jpg", 1)]
    assert [(entry.index, entry.id) for entry in train.classes] == [(0, "a"), (1, "b")]
    assert val.name == "val" and val.classes == train.classes
    assert str(tmp_path / "train") in source.description and str(tmp_path / "val") in source.description
    assert train.images[0].read() == b"train/a/1.jpg"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(
            ("val", "val"),
            ("valid", "val"),
            ("Validation", "val"),
            ("dev", "val"),
            ("test", "test"),
            ("TESTING", "test"),
        ),
    ],
)
def test_splits_go_by_several_names(tmp_path: Path, name: str, split: str) -> None:
    source = open_source(put(tmp_path, "train/a/1.jpg", f"{name}/a/1.jpg"))
    assert [one.name for one in source.splits] == ["train", split]


def test_train_valid_and_test_are_three_splits(tmp_path: Path) -> None:
    source = open_source(put(tmp_path, "train/a/1.jpg", "valid/a/1.jpg", "test/a/2.jpg", "test/a/3.jpg"))
    assert [(split.name, len(split.images)) for split in source.splits] == [("train", 1), ("val", 1), ("test", 2)]


def test_two_folders_that_both_are_validation_are_for_a_person_to_choose(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"more than one validation split: valid .* and validation .*; to read one of them, move"
    ):
        open_source(put(tmp_path, "train/a/1.jpg", "valid/a/1.jpg", "validation/a/2.jpg"))


def test_a_class_called_train_beside_other_classes_is_a_class(tmp_path: Path) -> None:
    (split,) = open_source(put(tmp_path, "bus/1.jpg", "train/1.jpg", "test/2.jpg")).splits
    assert list(split.images_per_class()) == ["bus", "test", "train"]


def test_val_may_lack_classes_of_train_and_has_its_table(tmp_path: Path) -> None:
    source = open_source(put(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "val/c/2.jpg", "val/b/x.txt"))
    train, val = source.splits
    assert val.classes == train.classes and [(image.name, image.label) for image in val.images] == [("c/2.jpg", 2)]
    assert "val: 2 of 3 classes have no images: a, b" in source.notes
    assert any("class folders without images" in line for line in source.passed_over)


def test_nested_class_folders_are_called_by_their_paths(tmp_path: Path) -> None:
    put(tmp_path, "a/airfield/1.jpg", "a/alley/1.jpg", "b/barn/1.jpg", "b/barn/inner/2.jpg")
    source = open_source(tmp_path)
    assert list(source.splits[0].images_per_class()) == ["a/airfield", "a/alley", "b/barn", "b/barn/inner"]
    assert "b/barn/inner is inside b/barn and both hold images, so they are two classes" in source.notes[0]
    (split,) = open_source(tmp_path, SourceOptions(class_depth=2)).splits
    assert split.images_per_class() == {"a/airfield": 1, "a/alley": 1, "b/barn": 2}
    with pytest.raises(InputError, match=r"its images are fewer than 3 folders deep; choose a smaller --class-depth"):
        open_source(tmp_path, SourceOptions(class_depth=3))
    (split,) = open_source(tmp_path, SourceOptions(class_depth=1)).splits
    assert [(image.name, image.label) for image in split.images][2:] == [("b/barn/1.jpg", 1), ("b/barn/inner/2.jpg", 1)]


def test_a_stray_empty_folder_in_a_class_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "dice/1.jpg", "dog/1.jpg")
    (tmp_path / "dog/greg/vision309").mkdir(parents=True)
    source = open_source(tmp_path)
    assert source.splits[0].images_per_class() == {"dice": 1, "dog": 1}
    assert source.passed_over[0].startswith("folders without images inside class folders: 2, e.g. ")


def test_a_split_inside_a_class_folder_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "set/train/a/1.jpg", "set/val/a/1.jpg", "other/1.jpg")
    words = "set/train: the folder of a split inside a class folder; put the splits outside, as train/set/"
    with pytest.raises(InputError, match=words):
        open_source(tmp_path)


def test_the_only_folder_is_looked_into(tmp_path: Path) -> None:
    source = open_source(put(tmp_path, "flowers/train/a/1.jpg", "flowers/val/a/2.jpg", "readme.txt"))
    assert [split.name for split in source.splits] == ["train", "val"]
    assert "read flowers/, the only folder in it" in source.notes[0]


def test_the_only_folder_with_images_is_looked_into(tmp_path: Path) -> None:
    """As `images/` of Food-101, CUB-200 and DTD, and `101_ObjectCategories/` of Caltech-101."""
    put(tmp_path, "images/pie/1.jpg", "images/sushi/2.jpg", "meta/train.txt", "meta/more/classes.json", "README.txt")
    source = open_source(tmp_path)
    assert source.splits[0].images_per_class() == {"pie": 1, "sushi": 1}
    assert "read images/, the only folder in it with images" in source.notes[0]
    assert source.passed_over == (f"folders without images: {tmp_path}/meta",)
    (tmp_path / "salad").mkdir()  # a class whose images are missing, perhaps
    with pytest.raises(InputError, match="meta: class without images"):
        open_source(tmp_path)
    (tmp_path / "salad").rmdir()
    put(tmp_path, "salad/1.jpg")
    with pytest.raises(InputError, match="meta: class without images"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    "unread",
    [
        *("rose/3.jpg.crdownload", "rose/3.jpg.part", "rose.rar", "ROSE.ZIP", "rose/all.TAR", "all.tar.gz", "rose.7z"),
        *("rose.npy", "rose.h5", "rose.mp4", "rose.3gp", "rose/3.jpg.tmp", "rose/3.jpg~"),
    ],
)
def test_a_folder_whose_images_cannot_be_read_is_not_left_out(tmp_path: Path, unread: str) -> None:
    """Once, it was passed over for one that holds no images, and the classes were cat and dog, not animals/cat."""
    put(tmp_path, "animals/cat/1.jpg", "animals/dog/2.jpg", f"plants/{unread}")
    with pytest.raises(InputError, match=r"plants.*: (class without images|holds compressed tars|holds .* not read)"):
        open_source(tmp_path)


def test_a_class_of_nested_folders_whose_images_cannot_be_read_is_not_left_out(tmp_path: Path) -> None:
    put(tmp_path, "animals/cat/1.jpg", "animals/dog/2.jpg.crdownload", "plants/rose/3.jpg")
    with pytest.raises(InputError, match=r"animals/dog: class without images, found only files like 2.jpg.crdownload"):
        open_source(tmp_path)
    (split,) = open_source(tmp_path, SourceOptions(class_depth=1)).splits
    assert split.images_per_class() == {"animals": 1, "plants": 1}
    shutil.rmtree(tmp_path / "animals/dog")
    put(tmp_path, "animals/notes/x.txt", "plants/rose/movies/x.mp4")  # no class: annotations, and beside images
    assert open_source(tmp_path).splits[0].images_per_class() == {"animals/cat": 1, "plants/rose": 1}


@pytest.mark.parametrize("where", ["", "train", "train/a"])
@pytest.mark.parametrize(
    "litter",
    [
        *(".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/a/._1.jpg", "@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg"),
        *("$RECYCLE.BIN/x", "lost+found/x", "System Volume Information/x", "._1.jpg", ".ipynb_checkpoints/1.jpg"),
        *("README", "notes.txt", "labels.csv", "model.pth", "1.xmp", "IMG_1.AAE", "1.thm"),
    ],
)
def test_litter_is_passed_over_and_counted(tmp_path: Path, litter: str, where: str) -> None:
    clean = open_source(put(tmp_path / "clean", "train/a/1.jpg", "val/a/1.jpg"))
    put(tmp_path / "set", "train/a/1.jpg", "val/a/1.jpg")
    put(tmp_path / "set" / where, litter)
    source = open_source(tmp_path / "set")
    assert [split.fingerprint() for split in source.splits] == [split.fingerprint() for split in clean.splits]
    (line,) = source.passed_over
    assert litter.partition("/")[0] in line and "e.g." not in line


@pytest.mark.parametrize("layout", ["class-folders", "flat", "zip"])
def test_what_is_kept_with_images_is_neither_passed_over_nor_an_image(tmp_path: Path, layout: str) -> None:
    folder = tmp_path / "source/train" / ("" if layout == "flat" else "cat")
    folder.mkdir(parents=True)
    for name in ("1.jpg", "1.json", "1.mask.PNG", "2.jpg", "3.json", "4.mask.png"):
        (folder / name).write_bytes(name.encode())
    source = tmp_path / "source"
    if layout == "zip":
        source = Path(shutil.make_archive(str(tmp_path / "set"), "zip", source))
    found = open_source(source, SourceOptions(keep=("json", "mask.png"), unlabeled=layout == "flat"))
    (split,) = found.splits
    kept = {
        image.name.rpartition("/")[2]: [(extra.ext, extra.read()) for extra in image.extras] for image in split.images
    }
    assert kept == {"1.jpg": [("json", b"1.json"), ("mask.png", b"1.mask.PNG")], "2.jpg": [], "4.mask.png": []}
    (line,) = found.passed_over
    assert line.startswith("non-image files beside images: ") and line.endswith("/3.json")


def test_names_with_dots_keep_what_has_their_whole_stem(tmp_path: Path) -> None:
    names = ("a.1.jpg", "a.1.txt", "a.2.jpg", "a.txt", "a.1.mask.png", "b.jpg", "b.TXT", "c.1.txt", "d.TXT")
    for name in names:
        (tmp_path / "cat" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "cat" / name).write_bytes(name.encode())
    found = open_source(tmp_path, SourceOptions(keep=("txt", "mask.png")))
    assert {image.name: [extra.read() for extra in image.extras] for image in found.splits[0].images} == {
        "cat/a.1.jpg": [b"a.1.mask.png", b"a.1.txt"],
        "cat/a.2.jpg": [b"a.txt"],
        "cat/b.jpg": [b"b.TXT"],
    }
    (line,) = found.passed_over
    assert line.startswith("non-image files beside images: 2, e.g. ")


@pytest.mark.parametrize("keep", [("caption", "caption"), ("image caption", "image-Caption")])
def test_nothing_is_kept_twice_under_one_name(keep: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="would be stored under the same name"):
        SourceOptions(keep=keep)


def test_what_belongs_to_no_split_is_named(tmp_path: Path) -> None:
    source = open_source(put(tmp_path, "train/a/1.jpg", "extra/a/1.jpg", "x.jpg", "train/y.jpg"))
    assert source.passed_over == (
        f"files beside class folders: {tmp_path / 'train/y.jpg'}",
        f"files that belong to no split: {tmp_path / 'x.jpg'}",
        f"folders that are not splits: {tmp_path / 'extra'}",
    )


def test_an_empty_folder_of_a_split_is_named(tmp_path: Path) -> None:
    source = open_source(put(tmp_path, "train/a/1.jpg", "val/.hidden"))
    assert [split.name for split in source.splits] == ["train"]
    assert f"folders of splits that hold nothing to read: {tmp_path / 'val'}" in source.passed_over


def test_our_own_output_inside_source_is_no_class(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b/1.jpg", "shards/train/manifest.json", "begun/.unfinished/plan.json", "named/x.jpg")
    source = open_source(tmp_path, out=tmp_path / "named")
    assert list(source.splits[0].images_per_class()) == ["a", "b"]
    assert source.passed_over[0].startswith("folders of shard sets: 3, e.g. ")


def test_one_name_in_two_normalizations_is_one_class(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    put(tmp_path / "two", f"train/{composed}/1.jpg", f"val/{decomposed}/1.jpg")
    train, val = open_source(tmp_path / "two").splits
    assert [entry.id for entry in val.classes] == [composed] and train.classes == val.classes
    put(tmp_path / "one", f"{composed}/1.jpg", f"{decomposed}/2.jpg")
    with pytest.raises(InputError, match=r"differ only in Unicode normalization .'cafe\\u0301' and 'caf\\xe9'"):
        open_source(tmp_path / "one")


def test_numbers_sorted_as_text_are_noted(tmp_path: Path) -> None:
    source = open_source(put(tmp_path, *(f"{i}/1.jpg" for i in range(12))))
    assert source.notes[0].startswith("class ids are sorted as text, so class 2 is '10'; to sort them by number")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ("index.json", "shard.00000.mds"),
            r"MosaicML shards .* \(shard.00000.mds\), a format that is not read",
        ),
        (("index.json", "chunk-0-0.bin"), "litData chunks"),
        (("data.mdb", "lock.mdb"), "an LMDB database that is not of Caffe"),
        (("x-train.array_record-00000-of-00002",), "ArrayRecord files .*tfds convert_format"),
        (("dataset_info.json", "data-00000-of-00001.arrow"), r"save_to_disk .*to_parquet"),
        (("dataset_dict.json",), "save_to_disk"),
        (("train.beton",), "an FFCV file"),
        (("all.h5",), "HDF5 files"),
        (("x.npy", "y.npy"), "NumPy arrays"),
        (("train-000000.tar.gz",), "compressed tars .*gunzip --keep"),
        (("train-000000.tar.zst",), "compressed tars .*unzstd --keep"),
    ],
)
@pytest.mark.parametrize("split", ["", "train/", "MNIST/raw/"])
def test_known_formats_are_refused_with_the_way_out(
    tmp_path: Path, names: tuple[str, ...], words: str, split: str
) -> None:
    with pytest.raises(InputError, match=words):
        open_source(put(tmp_path, *(split + name for name in names)))


def test_class_folders_alone_are_one_split(tmp_path: Path) -> None:
    (split,) = open_source(put(tmp_path, "cat/1.jpg", "dog/1.jpg")).splits
    assert split.name == "train" and split.images_per_class() == {"cat": 1, "dog": 1}


def test_hidden_files_are_not_inputs(tmp_path: Path) -> None:
    (split,) = open_source(put(tmp_path, "cat/1.jpg", "cat/.DS_Store", ".git/x")).splits
    assert [image.name for image in split.images] == ["cat/1.jpg"]


def test_the_list_does_not_depend_on_the_order_of_creation(tmp_path: Path) -> None:
    names = [f"c{i % 3}/{i}.jpg" for i in range(30)]
    lists = []
    for seed in range(2):
        random.Random(seed).shuffle(names)
        (split,) = open_source(put(tmp_path / str(seed), *names)).splits
        lists.append([image[:2] for image in split.images])
    assert lists[0] == lists[1]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "holds no class folders"),
        (("train/a/1.jpg", "train/b/.hidden"), "train/b: class without images"),
        (("train/a/1.jpg", "val/a/1.jpg", "val/b/1.jpg"), "1 only in val: b"),
        (("train/1.jpg",), "train: images without labels; found no class folders"),
        (("1.jpg",), "images without labels; found no class folders"),
        (("train/.hidden", "val/.hidden"), "nothing to read in train, val; put class folders there"),
        (("x.bin",), "holds no class folders, .* that can be read; found x.bin"),
    ],
)
def test_what_is_no_source_is_refused_by_name(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        open_source(put(tmp_path, *names))


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        open_source(tmp_path / "nowhere")


def test_a_link_to_nothing_is_a_bad_input_and_not_the_end(tmp_path: Path, draw_source: Callable[..., Path]) -> None:
    source = draw_source(splits=("train",))
    for name, target in (("gone", "nowhere.JPEG"), ("circle", "circle.JPEG")):
        (source / f"train/n00000001/{name}.JPEG").symlink_to(target)
    options = BuildOptions(pixels=PixelOptions(size_px=32), num_workers=1)
    (built,) = build_shards(
        open_source(source), tmp_path / "out", options, on_split=lambda split: lambda done, num_bad: None
    )
    reasons = {bad.source: bad.reason for bad in built.shard_set.manifest.quarantined}
    assert reasons == {
        "n00000001/circle.JPEG": "cannot be read: Too many levels of symbolic links",
        "n00000001/gone.JPEG": "cannot be read: No such file or directory",
    }


def test_the_fingerprint_sees_every_change(tmp_path: Path) -> None:
    def fingerprint() -> str:
        return open_source(tmp_path).splits[0].fingerprint()

    put(tmp_path, "a/1.jpg", "b/1.jpg")
    seen = [fingerprint()]
    put(tmp_path, "a/2.jpg")
    seen.append(fingerprint())
    (tmp_path / "a/2.jpg").write_bytes(b"other size!")
    seen.append(fingerprint())
    (tmp_path / "a/2.jpg").rename(tmp_path / "a/3.jpg")
    seen.append(fingerprint())
    (tmp_path / "a/3.jpg").rename(tmp_path / "b/3.jpg")
    seen.append(fingerprint())
    assert len(set(seen)) == len(seen)
    assert fingerprint() == seen[-1]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("train/cat.1.jpg", "train/dog.1.jpg", "test1/1.jpg"), "train: images without labels"),
        (("train2017/1.jpg", "val2017/1.jpg", "annotations/x.json"), "train2017: images without labels"),
        (("cat/train/1.jpg", "cat/val/2.jpg", "dog/train/1.jpg", "dog/val/2.jpg"), "put the splits outside, as train/"),
        (("images/train/1.jpg", "images/val/1.jpg", "labels/train/1.txt"), "images/train: images without labels"),
        (("Images/dog/1.jpg", "Boxes/dog/1"), "Boxes: holds no file with an image extension"),
        (("Images/dog/1.jpg", "Lists/a.tar"), "Lists: class without images; .* pass the folder that holds the class"),
        (("all.zip",), r"all\.zip: not a complete zip file"),
        (("1.jpg", "2.jpg", "labels.csv"), "to store them without labels; if .*labels.csv lists them, pass that file"),
        (("train/1.jpg", "test/1.jpg", "Testing_set.csv", "Training_set.csv"), "; if .*/Training_set.csv lists them"),
    ],
)
def test_what_is_no_class_is_refused_with_the_way_out(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        open_source(put(tmp_path, *names))


@pytest.mark.parametrize("name", ["all.tar", "all.tgz", "all.tar.zst", "all of it.tar"])
def test_one_archive_as_source_is_named_with_the_way_out(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"a single archive; .* unpack it \(tar -xf {shlex.quote(name)}\)"):
        open_source(put(tmp_path, name) / name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("my.parquet", "parquet file"), ("my.rec", "RecordIO file"), ("my-00000-of-00002", "TFRecord file")],
)
def test_one_file_of_many_images_as_source_is_answered_by_its_folder(tmp_path: Path, name: str, kind: str) -> None:
    with pytest.raises(InputError, match=rf"{name}: a single {kind}; pass its folder"):
        open_source(put(tmp_path, name) / name)


def test_one_class_is_noted(tmp_path: Path) -> None:
    assert open_source(put(tmp_path, "cat/1.jpg")).notes == (
        "there is only one class, cat; if that is not a class, pass the folder that holds the classes",
    )


def test_classes_are_sorted_by_their_whole_path(tmp_path: Path) -> None:
    """The folder a-b comes after a, but as text the class a-b comes before a/x."""
    (split,) = open_source(put(tmp_path, "a/x/1.jpg", "a/x/2.jpg", "a-b/3.jpg", "c/images/4.jpg")).splits
    assert [entry.id for entry in split.classes] == ["a-b", "a/x", "c"]
    assert [(image.label, image.name) for image in split.images] == [
        (0, "a-b/3.jpg"),
        (1, "a/x/1.jpg"),
        (1, "a/x/2.jpg"),
        (2, "c/4.jpg"),
    ]
