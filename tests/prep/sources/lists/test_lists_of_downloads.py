"""Lists as data sets have them: splits in paths, columns of classes, labels of several words, paths from the root."""

from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.sources import Source, SourceOptions, open_source
from alexkit.prep.sources.lists.split_paths import splits_in_paths

from ..trees import put


def opened(path: Path, text: str, **options: str | bool) -> Source:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return open_source(path, SourceOptions(**options))  # type: ignore[arg-type]


def counts(source: Source) -> dict[str, dict[str, int]]:
    return {split.name: split.images_per_class() for split in source.splits}


@pytest.mark.parametrize(
    ("paths", "splits"),
    [
        (["train/a/1.jpg", "val/a/2.jpg", "test/3.jpg"], ["train", "val", "test"]),
        (["train/1.jpg", "test/2.jpg", "train/3.jpg"], ["train", "test", "train"]),
        (["/x/set/train/1.jpg", "/x/set/test/2.jpg"], ["train", "test"]),
        (["s3://b/train/1.jpg", "s3://b/valid/2.jpg"], ["train", "val"]),
        (["train_images/1.jpg", "test_images/2.jpg"], ["train", "test"]),
        (["train/a/1.jpg", "val/a/2.jpg", "cat/3.jpg"], []),
        (["train/a/1.jpg", "val/a/2.jpg", "3.jpg"], []),
        (["val/1.jpg", "test/2.jpg"], []),
        (["train/a/1.jpg", "train/b/2.jpg"], []),
        (["a/train/1.jpg", "b/test/2.jpg"], []),
        (["train", "test"], []),
        (["train/1.jpg"], []),
    ],
)
def test_folders_of_paths_are_splits_if_all_are_and_they_are_several(paths: list[str], splits: list[str]) -> None:
    assert splits_in_paths(paths) == splits


def test_validation_images_of_imagenette_are_no_training_images(tmp_path: Path) -> None:
    """Training once got them, silently, from `noisy_imagenette.csv`."""
    names = ("train/n01440764/1.JPEG", "train/n02102040/2.JPEG", "val/n01440764/3.JPEG")
    put(tmp_path, *names)
    rows = [f"{name},{name.split('/')[1]},{name.startswith('val')}" for name in names]
    text = "\n".join(["path,noisy_labels_5,is_valid", *rows])
    source = opened(tmp_path / "noisy_imagenette.csv", text, label_column="noisy_labels_5")
    train, val = {"n01440764": 1, "n02102040": 1}, {"n01440764": 1, "n02102040": 0}
    assert counts(source) == {"train": train, "val": val}
    assert "noisy_imagenette.csv: divided into splits by the folders in its paths; to read" in source.notes[0]
    lines = text.replace("is_valid", "split").replace("True", "train").replace("False", "train")
    assert [*counts(opened(tmp_path / "a.csv", lines, label_column="noisy_labels_5"))] == ["train"]
    assert [*counts(opened(tmp_path / "train.csv", text, label_column="noisy_labels_5"))] == ["train"]


@pytest.mark.parametrize("ones", [("1", "0"), ("1.0", "0.0"), (" 1", " 0 ")])
def test_the_label_is_the_column_that_is_1(tmp_path: Path, ones: tuple[str, str]) -> None:
    """As ISIC and Plant Pathology write it; such tables were once refused without a way out."""
    put(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    one, zero = ones
    rows = [f",1.jpg,{zero},{one},train", f",2.jpg,{one},{zero},train", f",3.jpg,{zero},{one},val"]
    text = "\n".join([",image,MEL,BCC,split", *rows])
    source = opened(tmp_path / "truth.csv", text)
    assert counts(source) == {"train": {"BCC": 1, "MEL": 1}, "val": {"BCC": 1, "MEL": 0}}
    assert "the label of an image is the name of the column that is 1, of MEL, BCC" in source.notes[0]


def test_roboflow_exports_have_such_a_table_in_every_split(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        put(tmp_path / split, "1_jpg.rf.abc.jpg", "2_jpg.rf.def.jpg")
        text = "filename, cat, dog\n1_jpg.rf.abc.jpg, 1, 0\n2_jpg.rf.def.jpg, 0, 1\n"
        (tmp_path / split / "_classes.csv").write_text(text)
    assert counts(open_source(tmp_path)) == {split: {"cat": 1, "dog": 1} for split in ("train", "val")}


def test_metadata_of_a_split_may_list_its_folder_images(tmp_path: Path) -> None:
    """As Hugging Face's ImageFolder allows; it was not read."""
    for split in ("train", "test"):
        put(tmp_path / split, "images/1.jpg", "images/2.jpg", "images/3.jpg")
        (tmp_path / split / "metadata.csv").write_text("file_name,label\nimages/1.jpg,cat\nimages/2.jpg,dog\n")
    source = open_source(tmp_path)
    assert counts(source) == {split: {"cat": 1, "dog": 1} for split in ("train", "test")}
    assert source.passed_over[0].startswith("images that metadata.csv does not list: 2, e.g. ")


@pytest.mark.parametrize("row", ["2.jpg,1,1", "2.jpg,0,0", "2.jpg,1,maybe", "2.jpg,1,2"])
def test_an_image_with_several_labels_or_none_is_refused(tmp_path: Path, row: str) -> None:
    put(tmp_path, "1.jpg", "2.jpg")
    with pytest.raises(InputError, match=r"line 3: . of the columns cat to dog are 1; expected one, .* remove the row"):
        opened(tmp_path / "l.csv", f"image,cat,dog\n1.jpg,1,0\n{row}\n")


@pytest.mark.parametrize(
    "table", ["cat,dog\n1.jpg,1,1", "cat\n1.jpg,1", "cat,age\n1.jpg,1,55", "cat,dog\n1.jpg,0.3,0.7"]
)
def test_other_tables_without_a_column_of_labels_are_refused_as_before(tmp_path: Path, table: str) -> None:
    put(tmp_path, "1.jpg")
    with pytest.raises(InputError, match=r"line 1: the header is .*; expected the columns path, label"):
        opened(tmp_path / "l.csv", f"image,{table}\n")


def test_a_column_that_the_user_names_is_the_label_itself(tmp_path: Path) -> None:
    put(tmp_path, "1.jpg", "2.jpg")
    source = opened(tmp_path / "l.csv", "image,cat,dog\n1.jpg,1,0\n2.jpg,0,1\n", label_column="cat")
    assert counts(source) == {"train": {"0": 1, "1": 1}}


@pytest.mark.parametrize(("name", "root"), [("images/1025794", None), ("images/1025794", "images"), ("1025794", None)])
def test_a_label_of_several_words_without_a_tab_is_refused(tmp_path: Path, name: str, root: str | None) -> None:
    """Of FGVC-Aircraft's `1000074 BAE 146-200`, the class once was 146-200, and its images were quarantined."""
    put(tmp_path, f"{name}.jpg", f"{name}0.jpg", "images/my cat/1.jpg")
    text = "1025794 BAE 146-200\n10257940 A300B4\n"
    if name.startswith("images/") and root is None:
        text = text.replace("10257", "images/10257")
    root = root and str(tmp_path / root)
    with pytest.raises(
        InputError, match=r"line 1: '.*1025794 BAE' is not there, but '.*1025794' is; if labels contain"
    ):
        opened(tmp_path / "images_variant_train.txt", text, **({"image_root": root} if root else {}))
    tabs = "".join(line.replace(" ", "\t", 1) for line in text.splitlines(keepends=True))  # as sed does
    source = opened(tmp_path / "tabs.txt", tabs, **({"image_root": root} if root else {}))
    assert counts(source) == {"train": {"A300B4": 1, "BAE 146-200": 1}}
    assert counts(opened(tmp_path / "spaces.txt", "images/my cat/1 cat\n")) == {"train": {"cat": 1}}


def test_paths_from_the_root_start_at_the_image_root(tmp_path: Path) -> None:
    """As in the lists of Places365 and SUN397: `/a/airfield/1.jpg 0`."""
    put(tmp_path / "data_256", "a/airfield/1.jpg", "b/bar/2.jpg")
    path, text = tmp_path / "places365_train_standard.txt", "/a/airfield/1.jpg 0\n/b/bar/2.jpg 1\n"
    with pytest.raises(InputError, match=r"/a/airfield/1.jpg: No such file .* pass the folder .* with --image-root"):
        opened(path, text)
    source = opened(path, text, image_root=str(tmp_path / "data_256"))
    assert counts(source) == {"train": {"0": 1, "1": 1}}
    there = put(tmp_path, "other.jpg") / "other.jpg"
    source = opened(path, f"{there} 0\n{text}", image_root=str(tmp_path / "data_256"))
    contents = {image.read() for image in source.splits[0].images}
    assert contents == {b"a/airfield/1.jpg", b"b/bar/2.jpg", b"other.jpg"}
    with pytest.raises(InputError, match=r"line 1: \.\./other.jpg leads out of"):
        opened(path, "/../other.jpg 0\n", image_root=str(tmp_path / "data_256"))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("places365_val", "val"),
        ("GT-final_test", "test"),
        ("Testing_set", "test"),
        ("images_variant_trainval", "train"),
        ("train_test_split", "train"),
        ("places365_train_standard", "train"),
        ("attestation", "train"),
        ("test", "test"),
    ],
)
def test_a_list_is_of_the_split_in_its_name(tmp_path: Path, name: str, split: str) -> None:
    """The validation images of Places365 once became a train split."""
    put(tmp_path, "1.jpg", "2.jpg")
    source = opened(tmp_path / f"{name}.txt", "1.jpg 0\n2.jpg 1\n")
    assert [*counts(source)] == [split]
    is_told = any(
        f"{name}.txt: read as {split}, since its name says so; to change that" in note for note in source.notes
    )
    assert is_told == (split != "train" and name != "test")
    assert [*counts(opened(tmp_path / f"{name}.csv", "path,label,split\n1.jpg,0,val\n"))] == ["val"]


def test_a_folder_of_lists_alone_names_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"to read a list of images, pass it as SOURCE: .*/ImageNet_LT_test.txt$"):
        open_source(put(tmp_path, "ImageNet_LT_test.txt", "ImageNet_LT_train.txt"))
