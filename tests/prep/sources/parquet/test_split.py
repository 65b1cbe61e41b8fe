"""Laws of parquet sources: the same bytes as class folders; what cannot be meant is refused by file and row."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexkit.errors import InputError
from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.sources import SourceOptions, open_source

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow writes the files of these tests")
from pyarrow import parquet  # noqa: E402

NAMES = ["n00000000", "n00000001", "n00000002"]
STRUCT = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def metadata(names: list[str] | None) -> dict[str, str]:
    """The files' own description of themselves, as the library `datasets` writes it."""
    if names is None:
        return {}
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def write(path: Path, rows: list[dict[str, Any]], names: list[str] | None = NAMES, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "image": pyarrow.array([row["image"] for row in rows], STRUCT),
        "label": pyarrow.array([row["label"] for row in rows], pyarrow.int64()),
    }
    table = pyarrow.table(columns).replace_schema_metadata(metadata(names))
    parquet.write_table(table, path, **{"row_group_size": 4, **options})


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The images of class folders, in another order than theirs."""
    paths = sorted(folder.glob("*/*"), key=lambda path: path.read_bytes())
    return [
        {"image": {"bytes": path.read_bytes(), "path": path.name}, "label": NAMES.index(path.parent.name)}
        for path in paths
    ]


@pytest.fixture
def layouts(tmp_path: Path, draw_source: Callable[..., Path]) -> tuple[Path, Path]:
    """The same images as class folders and as parquet files."""
    folders, packed = draw_source(), tmp_path / "packed"
    train = rows_of(folders / "train")
    write(packed / "data/train-00000-of-00002.parquet", train[:9], compression="snappy")
    write(packed / "data/train-00001-of-00002.parquet", train[9:], compression="none")
    write(packed / "data/validation-00000-of-00001.parquet", rows_of(folders / "val"), data_page_size=3000)
    write(packed / "data/test-00000-of-00001.parquet", [{"image": None, "label": -1}])
    return folders, packed


def build(source: Path, out: Path) -> Any:
    options = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=4, num_workers=1)
    return build_shards(open_source(source), out, options, on_split=lambda split: lambda done, num_bad: None)


def test_the_same_images_give_the_same_shards_as_class_folders(
    layouts: tuple[Path, Path], give_the_same_shards: Callable[[Path, Path], None]
) -> None:
    give_the_same_shards(*layouts)


def test_splits_are_found_by_name_beside_data_in_it_or_in_folders(layouts: tuple[Path, Path]) -> None:
    packed = layouts[1]
    expected = [split.fingerprint() for split in open_source(packed).splits]
    assert [split.name for split in open_source(packed).splits] == ["train", "val"]
    assert "parquet files in" in open_source(packed).description
    assert [split.fingerprint() for split in open_source(packed / "data").splits] == expected
    for name in ("train", "validation"):
        (packed / name).mkdir()
        for path in (packed / "data").glob(f"{name}-*"):
            path.rename(packed / name / path.name)
    (packed / "data/test-00000-of-00001.parquet").unlink()
    assert [split.fingerprint() for split in open_source(packed).splits] == expected
    assert [split.fingerprint() for split in open_source(packed / "train").splits] == expected[:1]


def test_numbers_are_classes_where_nothing_names_them(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": b"x", "path": None}, "label": label} for label in (11, 2, 2)]
    write(tmp_path / "train.parquet", rows, names=None)
    (split,) = open_source(tmp_path).splits
    assert [entry.id for entry in split.classes] == [str(i) for i in range(12)]
    assert [(image.name, image.label) for image in split.images] == [
        ("2/train-0000001", 2),
        ("2/train-0000002", 2),
        ("11/train-0000000", 11),
    ]


def test_a_path_is_only_a_name(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [{"image": {"bytes": b"x", "path": "../../etc/a.jpg"}, "label": 0}])
    assert [image.name for image in open_source(tmp_path).splits[0].images] == ["n00000000/a.jpg"]


def test_a_null_and_a_damaged_image_are_quarantined(tmp_path: Path, draw_source: Callable[..., Path]) -> None:
    rows = rows_of(draw_source(splits=("train",)) / "train")
    rows[3]["image"] = None
    rows[7]["image"] = {"bytes": b"no image", "path": "bad.jpg"}
    write(tmp_path / "packed/train.parquet", rows)
    (built,) = build(tmp_path / "packed", tmp_path / "out")
    manifest = built.shard_set.manifest
    assert manifest.num_samples == len(rows) - 2
    reasons = {bad.source.rpartition("/")[2]: bad.reason for bad in manifest.quarantined}
    assert reasons.keys() == {"train-0000003", "bad.jpg"}
    assert reasons["train-0000003"] == "null instead of an image" and "not an image" in reasons["bad.jpg"]


def test_without_pyarrow_a_person_is_told_how_to_get_it(
    layouts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("content", "pages", "split"):
        monkeypatch.delitem(sys.modules, f"alexkit.prep.sources.parquet.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"parquet needs pyarrow: pip install 'alexkit\[parquet\]'"):
        open_source(layouts[1])
    assert len(open_source(layouts[0]).splits) == 2


def not_utf_8() -> Any:
    """Two labels, one of which is no text, as a flipped bit makes it."""
    return pyarrow.array([b"cat", b"\xae\xff"], pyarrow.binary()).view(pyarrow.string())


IMAGES = pyarrow.array([{"bytes": b"x", "path": "x.jpg"}, {"bytes": b"y", "path": "y.jpg"}], STRUCT)
ROW = {"image": {"bytes": b"x", "path": "x.jpg"}, "label": 0}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: f.write_bytes(f.read_bytes()[:-100]), "train-0.parquet: not a complete parquet file"),
        (lambda f: f.write_bytes(b""), "train-0.parquet: not a complete parquet file"),
        (
            lambda f: parquet.write_table(pyarrow.table({"image": IMAGES, "label": not_utf_8()}), f),
            "train-0.parquet: not a complete parquet file .'utf-8' codec",
        ),
        (lambda f: write(f, [ROW, ROW | {"label": None}]), "train-0.parquet, row 1: no label; expected a class index"),
        (lambda f: write(f, [ROW | {"label": 3}]), "train-0.parquet, row 0: label 3; expected a class index, 0 to 2"),
        (lambda f: write(f, [ROW, ROW, ROW | {"label": -1}]), "row 2: label -1; expected a class index"),
        (lambda f: write(f, [ROW | {"label": 10**9}], names=None), "row 0: label 1000000000; expected a class index"),
        (lambda f: write(f, []), "parquet files without rows"),
        (lambda f: write(f.with_name("train-1.parquet"), [ROW], names=["a"]), "names other classes than train-0"),
        (lambda f: write(f, [ROW], compression="lz4"), "is stored as LZ4 .*write the file again"),
        (lambda f: parquet.write_table(pyarrow.table({"label": [0]}), f), "no image column .*among label"),
        (lambda f: parquet.write_table(pyarrow.table({"image": [{"bytes": b"x"}]}), f), "no label column"),
        (
            lambda f: parquet.write_table(pyarrow.table({"a": [{"bytes": b"x"}], "b": [1], "c": [2]}), f),
            "more than one label column .*: b, c",
        ),
        (
            lambda f: write(f.parent / "data/train-0.parquet", [ROW]),
            "split: train-.*parquet .* and data/train",
        ),
        (lambda f: write(f.parent / "train/0.parquet", [ROW]), "training split: train/.*parquet .* and train-"),
        (lambda f: (f.parent / "train/cat").mkdir(parents=True), r"training split: train \(class folders\) and train-"),
        (lambda f: write(f.with_name("val-0.parquet"), [ROW], names=["a"]), "train and val have different classes"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, damage: Callable[[Path], object], words: str) -> None:
    write(tmp_path / "train-0.parquet", [ROW])
    damage(tmp_path / "train-0.parquet")
    with pytest.raises(ValueError, match=words):
        open_source(tmp_path)


def table_of(columns: dict[str, Any], features: dict[str, Any] | None = None) -> Any:
    described = {} if features is None else {"huggingface": json.dumps({"info": {"features": features}})}
    return pyarrow.table(columns).replace_schema_metadata(described)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_labels_are_whole_numbers_of_any_width(tmp_path: Path, kind: str) -> None:
    parquet.write_table(table_of({"image": IMAGES, "label": pyarrow.array([1, 0], kind)}), tmp_path / "train.parquet")
    assert [image.label for image in open_source(tmp_path).splits[0].images] == [0, 1]


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        ({"image": IMAGES, "label": ["dog", "cat"]}, {}),
        ({"image": IMAGES, "label": pyarrow.array(["dog", "cat"]).dictionary_encode()}, {}),
        ({"img": IMAGES, "class": ["dog", "cat"], "id": [7, 8]}, {}),
        ({"jpg": pyarrow.array([b"x", b"y"], pyarrow.binary()), "label": ["dog", "cat"]}, {}),
        ({"jpg": pyarrow.array([b"x", b"y"], pyarrow.large_binary()), "label": ["dog", "cat"]}, {}),
        ({"a": IMAGES, "b": pyarrow.nulls(2, STRUCT), "label": ["dog", "cat"]}, {"image_column": "a"}),
        ({"image": IMAGES, "x": ["dog", "cat"], "label": [1, 1]}, {"label_column": "x"}),
    ],
)
def test_columns_are_found_or_named(tmp_path: Path, columns: dict[str, Any], options: dict[str, Any]) -> None:
    parquet.write_table(table_of(columns), tmp_path / "train.parquet")
    (split,) = open_source(tmp_path, SourceOptions(**options)).splits
    assert [(split.classes[image.label].id, image.read()) for image in split.images] == [("cat", b"y"), ("dog", b"x")]


def test_of_two_class_tables_the_usual_name_is_taken_and_it_is_said(tmp_path: Path) -> None:
    features = {name: {"_type": "ClassLabel", "names": [name, "b"]} for name in ("fine_label", "coarse_label")}
    columns = {"image": IMAGES, "fine_label": [0, 1], "coarse_label": [1, 0]}
    parquet.write_table(table_of(columns, features), tmp_path / "train.parquet")
    source = open_source(tmp_path)
    assert [entry.id for entry in source.splits[0].classes] == ["fine_label", "b"]
    assert "labels are the column fine_label; --label-column can choose coarse_label instead" in source.notes[0]
    (split,) = open_source(tmp_path, SourceOptions(label_column="coarse_label")).splits
    assert [entry.id for entry in split.classes] == ["coarse_label", "b"]


def test_a_row_that_holds_only_a_path_is_read_from_there(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/1.jpg").write_bytes(b"from the disk")
    (tmp_path.parent / "outside.jpg").write_bytes(b"x")
    paths = ["photos/1.jpg", "in.jpg", "photos/none.jpg", "../outside.jpg"]
    images = pyarrow.array([{"bytes": b"in" if i == 1 else None, "path": path} for i, path in enumerate(paths)], STRUCT)
    parquet.write_table(table_of({"image": images, "label": [0, 1, 2, 3]}), tmp_path / "train.parquet")
    found = open_source(tmp_path).splits[0].images
    assert [image.read() for image in found[:2]] == [b"from the disk", b"in"]
    for image in found[2:]:
        with pytest.raises(InputError, match="null instead of an image"):
            image.read()


def test_an_unlabeled_test_split_is_left_out_or_stored_without_labels(layouts: tuple[Path, Path]) -> None:
    packed = layouts[1]
    rows = [{"image": {"bytes": b"x", "path": "x.jpg"}, "label": -1}]
    write(test := packed / "data/test-00000-of-00001.parquet", rows)
    source = open_source(packed)
    assert [split.name for split in source.splits] == ["train", "val"]
    assert any("test-00000-of-00001.parquet: no row has a label" in note for note in source.notes)
    parquet.write_table(parquet.read_table(test).drop_columns(["label"]), test)
    assert any("test-00000-of-00001.parquet: no label column" in note for note in open_source(packed).notes)
    assert [split.name for split in open_source(packed, SourceOptions(unlabeled=True)).splits] == [
        "train",
        "val",
        "test",
    ]


def test_columns_are_kept_on_request(tmp_path: Path) -> None:
    columns = {"image": IMAGES, "label": [0, 1], "caption": ["a", None], "boxes": [[1.5], []]}
    parquet.write_table(table_of(columns), tmp_path / "train.parquet")
    (split,) = open_source(tmp_path, SourceOptions(keep=("caption", "boxes", "source"))).splits
    kept = [{extra.ext: extra.read() for extra in image.extras} for image in split.images]
    assert kept == [
        {"boxes.json": b"[1.5]", "caption.txt": b"a", "source.txt": b"train.parquet:x.jpg"},
        {"boxes.json": b"[]", "source.txt": b"train.parquet:y.jpg"},
    ]


def test_the_tables_of_img2dataset_beside_its_tars_are_no_images(tmp_path: Path) -> None:
    import io
    import tarfile

    with tarfile.open(tmp_path / "00000.tar", "w") as tar:
        for name, content in (("0.jpg", b"x"), ("0.json", b'{"label": 3, "caption": "c"}'), ("0.txt", b"c")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    parquet.write_table(table_of({"url": ["x"], "status": ["success"]}), tmp_path / "00000.parquet")
    (tmp_path / "00000_stats.json").write_text("{}")
    source = open_source(tmp_path)
    assert [image.label for image in source.splits[0].images] == [3]
    assert [line.partition(":")[0] for line in source.passed_over] == [
        "files beside shards or other files of many images",
        "tables of img2dataset",
    ]


def test_a_footer_that_makes_pyarrow_abort_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "data/train-00000-of-00001.parquet"
    write(path, [{"image": {"bytes": b"x", "path": None}, "label": 0}], compression="brotli")
    content = path.read_bytes()
    assert b"\x15\x08" in content  # the field of each column that says brotli, 4 in zigzag
    path.write_bytes(content.replace(b"\x15\x08", b"\x15\x22"))  # a codec that nobody has
    aborted = r"its parquet footer .* is damaged: .* \(killed by SIGABRT\)"
    with pytest.raises(
        InputError, match=rf"^{path}: ({aborted}|not a complete parquet file)"
    ):  # the latter: pyarrow 15
        open_source(tmp_path)


def test_a_footer_with_another_number_of_rows_than_its_columns_have_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data/train-00000-of-00001.parquet"
    write(path, [{"image": {"bytes": b"x", "path": None}, "label": 0}] * 8, row_group_size=4)
    good = path.read_bytes()
    footer = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    place = good.rindex(b"\x16\x08", footer)  # the rows of the last group, 4 in zigzag
    path.write_bytes(good[:place] + b"\x16\x0c" + good[place + 2 :])
    with pytest.raises(InputError, match=rf"^{path}: .*damaged"):
        open_source(tmp_path)
