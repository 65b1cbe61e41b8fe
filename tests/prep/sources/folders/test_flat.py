"""Laws of flat folders: the same images as in class folders, labeled by a file beside them, or by none."""

from collections.abc import Callable
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.sources import Source, SourceOptions, open_source


def fingerprints(source: Source) -> list[str]:
    return [split.fingerprint() for split in source.splits]


@pytest.fixture
def layouts(tmp_path: Path, draw_source: Callable[..., Path]) -> tuple[Path, Path, list[tuple[str, str]]]:
    """Class folders, the same with a flat `val`, and name and class of every image of `val`."""
    folders, flat = draw_source(), tmp_path / "flat"
    labels = []
    (flat / "val").mkdir(parents=True)
    (flat / "train").symlink_to(folders / "train")
    for path in sorted((folders / "val").rglob("*.JPEG")):
        labels.append((path.name, path.parent.name))
        (flat / "val" / path.name).write_bytes(path.read_bytes())
    return folders, flat, labels[::-1]


@pytest.mark.parametrize("place", ["val.txt", "val/val.txt", "val_map.txt"])
@pytest.mark.parametrize(
    "write", ["{name} {class_id}", "val/{name} {class_id}", "{name}\t{class_id}", "{name} {number}"]
)
def test_a_text_list_labels_them(layouts: tuple[Path, Path, list[tuple[str, str]]], place: str, write: str) -> None:
    folders, flat, labels = layouts
    ids = sorted({class_id for _, class_id in labels})
    lines = [write.format(name=name, class_id=class_id, number=ids.index(class_id)) for name, class_id in labels]
    (flat / place).write_text("\n".join(lines) + "\n")
    source = open_source(flat)
    assert [split.fingerprint() for split in source.splits] == [
        one.fingerprint() for one in open_source(folders).splits
    ]
    assert any("positions in the class ids: 0 is n00000000" in note for note in source.notes) == ("{number}" in write)


def test_the_solution_of_kaggle_labels_them(layouts: tuple[Path, Path, list[tuple[str, str]]]) -> None:
    folders, flat, labels = layouts
    rows = [f"{name.partition('.')[0]},{class_id} 1 2 3 4" for name, class_id in labels]
    (flat / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]))
    assert open_source(flat).splits[1].fingerprint() == open_source(folders).splits[1].fingerprint()


@pytest.mark.parametrize("place", ["", "val/"])
def test_the_list_of_tensorflow_labels_them_in_the_order_of_their_names(tmp_path: Path, place: str) -> None:
    ids = ["n01443537", "n01440764", "n01440764"]
    for name in (
        "train/n01440764/1.jpg",
        "train/n01443537/2.jpg",
        *(f"val/ILSVRC2012_val_0000000{i}.JPEG" for i in (1, 2, 3)),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    path = tmp_path / place / "imagenet_2012_validation_synset_labels.txt"
    path.write_text("\n".join(ids) + "\n")
    _, val = open_source(tmp_path).splits
    assert [image.name for image in val.images] == [f"{ids[i - 1]}/ILSVRC2012_val_0000000{i}.JPEG" for i in (2, 3, 1)]
    path.write_text("\n".join(ids[:2]))
    with pytest.raises(InputError, match=r"val_00000003.JPEG: has no row in .*_synset_labels.txt"):
        open_source(tmp_path)
    path.write_text("\n".join([*ids, *ids]))
    with pytest.raises(InputError, match=r"line 4: ILSVRC2012_val_00000004 is not in .*; the download is not complete"):
        open_source(tmp_path)
    path.write_text("n01443537\n\nn01440764\n")
    with pytest.raises(InputError, match=r"line 2: ''; expected a WordNet id; download the file again"):
        open_source(tmp_path)


def test_a_list_of_zeros_does_not_label_the_test_images_of_caffe(tmp_path: Path) -> None:
    """Its `test.txt` once gave 100,000 images the first class."""
    names = [f"test/ILSVRC2012_test_0000000{i}.JPEG" for i in (1, 2, 3)]
    for name in ("train/a/1.jpg", "train/b/2.jpg", *names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    rows = [Path(name).name for name in names]
    (tmp_path / "test.txt").write_text("".join(f"{name} 0\n" for name in rows))
    source = open_source(tmp_path)
    assert [split.name for split in source.splits] == ["train"]
    assert any("test.txt: every label is 0, so these are no labels; pass --unlabeled" in note for note in source.notes)
    _, test = open_source(tmp_path, SourceOptions(unlabeled=True)).splits
    assert test.images_per_class() == {"unlabeled": 3}
    (tmp_path / "test.txt").write_text(f"{rows[0]} 0\n{rows[1]} 0\n{rows[2]} 1\n")
    assert open_source(tmp_path).splits[1].images_per_class() == {"a": 2, "b": 1}


def test_labels_of_several_words_follow_a_tab(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for name in ("0 a.jpg", "1.jpg", "2.jpg"):
        (tmp_path / "train" / name).write_bytes(b"x")
    (tmp_path / "train.txt").write_text("0 a.jpg\tgolden retriever\n1.jpg \t labrador retriever\r\n2.jpg\tcat\n")
    (split,) = open_source(tmp_path).splits
    assert [image.name for image in split.images] == [
        "cat/2.jpg",
        "golden retriever/0 a.jpg",
        "labrador retriever/1.jpg",
    ]
    (tmp_path / "train.txt").write_text("0 a.jpg golden retriever\n1.jpg labrador retriever\n2.jpg cat\n")
    with pytest.raises(
        InputError, match=r"train.txt, line 1: '0 a.jpg golden' does not match .*0 a.jpg; .* put a tab between"
    ):
        open_source(tmp_path)


@pytest.mark.parametrize("place", ["Annotations/CLS-LOC/val", "Annotations/val", "val"])
def test_xml_annotations_label_them(layouts: tuple[Path, Path, list[tuple[str, str]]], place: str) -> None:
    folders, flat, labels = layouts
    (flat / place).mkdir(parents=True, exist_ok=True)
    for name, class_id in labels:
        xml = f"<annotation><object><name>{class_id}</name></object></annotation>"
        (flat / place / name).with_suffix(".xml").write_text(xml)
    assert open_source(flat).splits[1].fingerprint() == open_source(folders).splits[1].fingerprint()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[1:], r"val/n.*JPEG: has no row in .*val.txt"),
        (
            lambda lines: ["x.jpg n00000000", *lines],
            r"val.txt, line 1: x is not in .*val; the download",
        ),
        (lambda lines: [*lines, lines[0]], r"val.txt, line 16: .* again, first in line 1"),
        (lambda lines: ["alone", *lines], "val.txt, line 1: 'alone'; expected a path and a label"),
        (lambda lines: [line.replace(" n00000001", " cat") for line in lines], "1 only in val: cat"),
        (lambda lines: [f"{line.split()[0]} 7" for line in lines], "val.txt, line [0-9]+: label 7; expected .*0 to 2"),
    ],
)
def test_labels_that_do_not_fit_are_refused_by_file_and_line(
    layouts: tuple[Path, Path, list[tuple[str, str]]], change: Callable[[list[str]], list[str]], words: str
) -> None:
    _, flat, labels = layouts
    (flat / "val.txt").write_text("\n".join(change([f"{name} {class_id}" for name, class_id in labels])))
    with pytest.raises(InputError, match=words):
        open_source(flat)


def test_unlabeled_validation_images_are_refused_with_the_ways_out(
    layouts: tuple[Path, Path, list[tuple[str, str]]],
) -> None:
    words = r"val: images without labels; .* \(val.txt with lines PATH LABEL\), no LOC_val_solution.csv .* --unlabeled"
    with pytest.raises(InputError, match=words):
        open_source(layouts[1])


@pytest.mark.parametrize("inner", ["", "images/"])
def test_an_unlabeled_test_split_is_left_out_or_stored_without_labels(
    tmp_path: Path, draw_source: Callable[..., Path], inner: str
) -> None:
    folder = draw_source(splits=("train",))
    (folder / "test" / inner).mkdir(parents=True)
    for i in range(3):
        (folder / "test" / inner / f"{i}.jpg").write_bytes(b"x")
    source = open_source(folder)
    assert [split.name for split in source.splits] == ["train"]
    assert any(note.startswith("left out: ") and "images without labels" in note for note in source.notes)
    train, test = open_source(folder, SourceOptions(unlabeled=True)).splits
    assert [entry.id for entry in test.classes] == ["unlabeled"] and len(train.classes) == 3
    assert [image.name for image in test.images] == [f"unlabeled/{i}.jpg" for i in range(3)]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_the_table_of_an_image_folder_labels_them(layouts: tuple[Path, Path, list[tuple[str, str]]], name: str) -> None:
    """As Hugging Face's ImageFolder has it: `metadata.csv` among the images of each split."""
    folders, flat, labels = layouts
    rows = [f'{{"file_name": "{image}", "label": "{class_id}"}}' for image, class_id in labels]
    if name.endswith("csv"):
        rows = ["file_name,label", *(f"{image},{class_id}" for image, class_id in labels)]
    (flat / "val" / name).write_text("\n".join(rows) + "\n")
    source = open_source(flat)
    assert fingerprints(source) == fingerprints(open_source(folders)) and source.passed_over == ()
    (flat / "val/other.jpg").write_bytes(b"x")
    assert open_source(flat).passed_over == (f"images that {name} does not list: {flat}/val/other.jpg",)
    (val,) = open_source(flat / "val").splits
    assert val.name == "train" and len(val.images) == len(labels)


@pytest.mark.parametrize("table", ["file_name\n9.jpg\n", "file_name,label\n9.jpg,\n", "file_name,label\n9.jpg,-1\n"])
def test_a_table_without_labels_leaves_out_its_test_split_and_no_labels_of_others(tmp_path: Path, table: str) -> None:
    for split, names in (("train", ["0", "1"]), ("test", ["9"])):
        (tmp_path / split).mkdir()
        for name in names:
            (tmp_path / split / f"{name}.jpg").write_bytes(b"x")
    (tmp_path / "train/metadata.csv").write_text("file_name,label\n0.jpg,cat\n1.jpg,dog\n")
    (tmp_path / "test/metadata.csv").write_text(table)
    source = open_source(tmp_path)
    assert [split.images_per_class() for split in source.splits] == [{"cat": 1, "dog": 1}]
    assert any(note.startswith("left out: ") and "test/metadata.csv" in note for note in source.notes)
    train, test = open_source(tmp_path, SourceOptions(unlabeled=True)).splits
    assert train.images_per_class() == {"cat": 1, "dog": 1} and test.images_per_class() == {"unlabeled": 1}
    (tmp_path / "train/metadata.csv").write_text("id,caption\n0,a cat\n")
    with pytest.raises(InputError, match="or pass --layout flat to read the images without it"):
        open_source(tmp_path, SourceOptions(unlabeled=True))
    flat = SourceOptions(unlabeled=True, layout="flat")
    assert [split.images_per_class() for split in open_source(tmp_path, flat).splits] == [
        {"unlabeled": 2},
        {"unlabeled": 1},
    ]


def test_names_label_them_by_a_pattern(draw_source: Callable[..., Path], tmp_path: Path) -> None:
    """Kaggle's Dogs vs. Cats: `train/cat.0.jpg`, and `test1/1.jpg` without labels."""
    folders = draw_source(splits=("train",))
    (tmp_path / "flat/train").mkdir(parents=True)
    (tmp_path / "flat/test1").mkdir()
    (tmp_path / "flat/test1/1.JPEG").write_bytes(b"image")
    for path in folders.rglob("*.JPEG"):
        (tmp_path / "flat/train" / f"{path.parent.name}.{path.name}").write_bytes(path.read_bytes())

    def read(pattern: str) -> Source:
        return open_source(tmp_path / "flat", SourceOptions(label_pattern=pattern))

    source = read(r"(n\d+)\.")
    (split,), (expected,) = source.splits, open_source(folders).splits
    assert split.images_per_class() == expected.images_per_class()
    assert "left out: " in source.notes[0] and "test1/1.JPEG: --label-pattern '(n\\d+)\\.' finds no" in source.notes[0]
    (tmp_path / "flat/test1/notes.txt").write_text("x")
    stored = open_source(tmp_path / "flat", SourceOptions(label_pattern=r"(n\d+)\.", unlabeled=True))
    assert stored.splits[0].images_per_class() == expected.images_per_class()
    assert stored.splits[1].images_per_class() == {"unlabeled": 1}
    assert stored.passed_over == (f"non-image files beside images: {tmp_path}/flat/test1/notes.txt",)
    with pytest.raises(
        InputError, match=r"train/n00000001\S+: --label-pattern '.*' finds no label in its name; write a pattern"
    ):
        read("(n00000000)")
    with pytest.raises(InputError, match=r"finds no label in its name; write a pattern that fits all names$"):
        open_source(tmp_path / "flat", SourceOptions(label_pattern="(n00000000)", unlabeled=True))
    with pytest.raises(InputError, match=r"finds no label in its name; .* or pass --unlabeled to store the images"):
        read("(cat)")
    with pytest.raises(InputError, match=r"--label-pattern '\(n': not a regular expression \(missing \)"):
        read("(n")
    with pytest.raises(InputError, match="0 groups; expected one, which is the label"):
        read("n")
    with pytest.raises(InputError, match="--label-pattern is for flat, but the source is read as class-folders; leave"):
        open_source(folders, SourceOptions(label_pattern="(n)"))


@pytest.mark.parametrize(
    "options", [SourceOptions(layout="flat", unlabeled=True), SourceOptions(layout="flat", label_pattern="([ab])")]
)
def test_folders_beside_flat_images_are_named(tmp_path: Path, options: SourceOptions) -> None:
    (tmp_path / "more").mkdir()
    for name in ("a1.jpg", "b2.jpg", "more/a3.jpg"):
        (tmp_path / name).write_bytes(b"image")
    source = open_source(tmp_path, options)
    assert len(source.splits[0].images) == 2
    assert source.passed_over == (f"folders beside images that are read as flat: {tmp_path}/more",)
