"""Laws of what is told of a source: the same of the same files however they are named, and what was not read."""

import zipfile
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.sources import SourceOptions, open_source
from alexkit.prep.sources.extras import origin_of
from alexkit.prep.sources.split_names import missing_parts

from .trees import put


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("named", ["list.csv", "./list.csv", "../set/list.csv", "ABSOLUTE"])
def test_origins_do_not_depend_on_how_a_list_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, absolute: bool
) -> None:
    put(tmp_path / "set", "a/1.jpg")
    (tmp_path / "set/list.csv").write_text(f"path,label\n{tmp_path / 'set' if absolute else '.'}/a/1.jpg,cat\n")
    monkeypatch.chdir(tmp_path / "set")
    source = tmp_path / "set/list.csv" if named == "ABSOLUTE" else Path(named)
    (split,) = open_source(source).splits
    assert [origin_of(image, split.root) for image in split.images] == ["a/1.jpg"]


@pytest.mark.parametrize("named", [".", "../set", "x/..", "ABSOLUTE"])
def test_images_that_a_table_lists_are_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    put(tmp_path / "set", "1.jpg", "2.jpg")
    (tmp_path / "set/metadata.csv").write_text("file_name,label\n1.jpg,cat\n2.jpg,dog\n")
    if named == "x/..":
        put(tmp_path / "set/.x", "y")
        named = ".x/.."
    monkeypatch.chdir(tmp_path / "set")
    found = open_source(tmp_path / "set" if named == "ABSOLUTE" else Path(named))
    assert not any("does not list" in line for line in found.passed_over)


@pytest.mark.parametrize(
    ("links", "passed_over"),
    [
        ({"cat/self": "."}, "links to a folder that holds them: {}/cat/self"),
        ({"cat/up": "../.."}, "links to a folder that holds them: {}/cat/up"),
        ({"cat/a": "../dog", "dog/b": "../cat"}, "links to a folder that holds them: 2, e.g. {}/cat/a/b"),
    ],
)
def test_links_in_a_circle_are_not_followed(tmp_path: Path, links: dict[str, str], passed_over: str) -> None:
    put(tmp_path / "set", "cat/1.jpg", "dog/1.jpg")
    for link, target in links.items():
        (tmp_path / "set" / link).symlink_to(target)
    found = open_source(tmp_path / "set")
    assert passed_over.format(tmp_path / "set") in found.passed_over
    assert len(found.splits[0].images) == (4 if len(links) == 2 else 2)


def test_a_link_to_a_folder_beside_is_followed(tmp_path: Path) -> None:
    put(tmp_path / "set", "cat/1.jpg")
    (tmp_path / "set/dog").symlink_to("cat")
    assert [image.name for image in open_source(tmp_path / "set").splits[0].images] == ["cat/1.jpg", "dog/1.jpg"]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"), None),
        (("train-00000-of-00002-0f3c.parquet",), "1 of 2 files; 1 missing, e.g. train-00001-of-00002"),
        (("train-00000-of-00002-0f3c.parquet", "train-00001-of-00002-a1b2.parquet"), None),
        (("a-000002-of-000003.tar",), "1 of 3 files; 2 missing, e.g. a-000000-of-000003"),
        (("train-0.tar", "train-00002.tar"), None),
    ],
)
def test_what_is_missing_of_numbered_files_is_told(names: tuple[str, ...], told: str | None) -> None:
    assert missing_parts(names) == told


def test_zip_files_in_a_folder_are_looked_into_before_they_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "imagenet.zip", "w") as archive:
        archive.writestr("train/cat/1.jpg", b"x")
    with pytest.raises(InputError, match=r"to read a zip of class folders, pass it as SOURCE: .*imagenet\.zip"):
        open_source(tmp_path)
    with zipfile.ZipFile(tmp_path / "imagenet.zip", "w") as archive:
        archive.writestr("ILSVRC/Data/CLS-LOC/train/n01440764/1.JPEG", b"x")
    with pytest.raises(InputError, match=r"imagenet\.zip: Kaggle's download of ILSVRC, .* unpack it"):
        open_source(tmp_path)


def test_parquet_files_in_the_only_folder_are_read_also_where_rows_hold_but_paths(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    put(tmp_path / "set/plain_text", "1.jpg", "2.jpg")
    (tmp_path / "set/README.md").write_text("# A data set")
    rows = [{"bytes": None, "path": f"images/{i}.jpg"} for i in (1, 2)]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = pyarrow.table({"image": pyarrow.array(rows, kind), "label": [0, 1]})
    (tmp_path / "set/plain_text/images").mkdir()
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / "set/plain_text" / name).rename(tmp_path / "set/plain_text/images" / name)
    # Without statistics nobody says that the bytes are null.
    parquet.write_table(table, tmp_path / "set/plain_text/train-00000-of-00002.parquet", write_statistics=False)
    found = open_source(tmp_path / "set")
    assert [image.read() for image in found.splits[0].images] == [b"1.jpg", b"2.jpg"]
    assert any("1 of 2 files; 1 missing, e.g. train-00001-of-00002" in note for note in found.notes)
    assert any("read plain_text/, the only folder in it" in note for note in found.notes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"label_column": "label"},
            "--label-column is for list, parquet, .*, but the source is read as class-folders;",
        ),
        ({"label_key": "label"}, "--label-key is for webdataset, .* leave the option out"),
        ({"image_column": "path"}, "--image-column is for list"),
    ],
)
def test_options_that_say_nothing_of_a_source_are_refused(tmp_path: Path, options: dict[str, str], words: str) -> None:
    put(tmp_path / "set", "cat/1.jpg")
    with pytest.raises(InputError, match=words):
        open_source(tmp_path / "set", SourceOptions(**options))  # type: ignore[arg-type]
    (tmp_path / "set/list.csv").write_text("path,label\ncat/1.jpg,cat\n")
    with pytest.raises(InputError, match=r"list.csv: --class-depth is for class-folders, kaggle, .* read as list"):
        open_source(tmp_path / "set/list.csv", SourceOptions(class_depth=1))


def test_splits_that_a_chosen_layout_leaves_out_are_named(tmp_path: Path) -> None:
    """Such a val/ was not mentioned, although a refusal of a class called image had advised the option."""
    source = put(tmp_path, "train/image/1.jpg", "train/text/2.jpg", "val/3.jpg", "val/4.jpg")
    (source / "val.txt").write_text("3.jpg image\n4.jpg text\n")
    with pytest.raises(InputError, match=r"if it is a class, pass --layout class-folders"):
        open_source(source)
    found = open_source(source, SourceOptions(layout="class-folders"))
    assert [split.name for split in found.splits] == ["train"]
    assert found.notes == (f"left out: {source}/val (images in one folder), since --layout is class-folders",)
