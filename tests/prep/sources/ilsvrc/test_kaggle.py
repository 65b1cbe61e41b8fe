"""Laws of Kaggle's layout of ILSVRC: the same images and bytes as class folders, refused when labels do not fit."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.sources import SourceOptions, open_source

# What holds the names of classes, which not every layout knows.
NAMED = ("manifest.json", "README.md", "sources.jsonl")
WORDS = {"n00000000": "tench, Tinca tinca", "n00000001": "goldfish", "n00000002": "great white shark, man-eater"}
DATA = Path("ILSVRC/Data/CLS-LOC")
MAPPING, SOLUTION = "LOC_synset_mapping.txt", "LOC_val_solution.csv"


@pytest.fixture
def layouts(tmp_path: Path, draw_source: Callable[..., Path]) -> tuple[Path, Path]:
    """The same images as class folders and as Kaggle packs them."""
    folders, kaggle = draw_source(), tmp_path / "kaggle"
    (kaggle / DATA / "val").mkdir(parents=True)
    (kaggle / DATA / "test").mkdir()
    (kaggle / DATA / "test/ILSVRC2012_test_00000001.JPEG").write_bytes(b"without a label")
    (kaggle / "ILSVRC/Annotations/CLS-LOC").mkdir(parents=True)
    shutil.copytree(folders / "train", kaggle / DATA / "train")
    rows = []
    for i, path in enumerate(sorted((folders / "val").rglob("*.JPEG"), key=lambda path: path.read_bytes())):
        image = f"ILSVRC2012_val_{i + 1:08d}"
        path = path.rename(path.with_name(f"{image}.JPEG"))
        shutil.copy(path, kaggle / DATA / "val")
        boxes = f"{path.parent.name} 85 1 499 272 " * (1 + i % 2)
        rows.append(f"{image},{boxes}")
    # As in the real file, rows are in no order.
    (kaggle / SOLUTION).write_text("\n".join(["ImageId,PredictionString", *rows[::-1]]) + "\n")
    (kaggle / MAPPING).write_text("".join(f"{class_id} {words}\n" for class_id, words in WORDS.items()))
    return folders, kaggle


def test_the_same_images_give_the_same_shards_as_class_folders(
    layouts: tuple[Path, Path], tmp_path: Path, tree_hashes: Callable[[Path], dict[str, str]]
) -> None:
    options = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=4, num_workers=1)
    trees, fingerprints, before = [], [], tree_hashes(layouts[1])
    for folder in layouts:
        source, out = open_source(folder), tmp_path / f"out-{folder.name}"
        build_shards(source, out, options, on_split=lambda split: lambda done, num_bad: None)
        trees.append({path: digest for path, digest in tree_hashes(out).items() if not path.endswith(NAMED)})
        fingerprints.append([split.fingerprint() for split in source.splits])
    assert trees[0] == trees[1] and fingerprints[0] == fingerprints[1]
    assert tree_hashes(layouts[1]) == before


@pytest.mark.parametrize("labels_beside", [False, True])
def test_source_may_be_the_folder_ilsvrc_itself(layouts: tuple[Path, Path], labels_beside: bool) -> None:
    kaggle = layouts[1]
    expected = [split.fingerprint() for split in open_source(kaggle).splits]
    if not labels_beside:
        for name in (MAPPING, SOLUTION):
            (kaggle / name).rename(kaggle / "ILSVRC" / name)
    source = open_source(kaggle / "ILSVRC")
    assert [split.fingerprint() for split in source.splits] == expected
    assert "Kaggle" in source.description and str(kaggle / DATA / "val") in source.description


def test_classes_are_in_the_order_of_their_ids_and_named_by_the_mapping(layouts: tuple[Path, Path]) -> None:
    mapping = layouts[1] / MAPPING
    mapping.write_text("".join(f"{line}\n" for line in mapping.read_text().splitlines()[::-1]))
    for split in open_source(layouts[1]).splits:
        assert [(entry.id, entry.name) for entry in split.classes] == sorted(WORDS.items())


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        (
            MAPPING,
            "n00000001 goldfish",
            "n00000001",
            f"{MAPPING}, line 2: 'n00000001'; expected a WordNet id and a name",
        ),
        (MAPPING, "n00000001 gold", "n00000000 gold", f"{MAPPING}, line 2: n00000000 is listed again, first in line 1"),
        (MAPPING, "n00000001 goldfish\n", "", f"{MAPPING}: lacks n00000001"),
        (MAPPING, "n00000001", "n00000003 x\nn00000001", f"{MAPPING}, line 2: n00000003 has no folder"),
        (SOLUTION, "ImageId", "Image", f"{SOLUTION}, line 1: the header is"),
        (SOLUTION, "15,n", "15,m", f"{SOLUTION}, line 2: ILSVRC2012_val_00000015 has class 'm"),
        (SOLUTION, "14,n", "14,,n", f"{SOLUTION}, line 3: 3 fields, but the header has 2"),
        (SOLUTION, "_00000014,", "_00000015,", f"{SOLUTION}, line 3: ILSVRC2012_val_00000015 is listed again"),
        (SOLUTION, "_00000014,", "_00000016,", "ILSVRC2012_val_00000014.JPEG: has no row in"),
    ],
)
def test_labels_that_do_not_fit_are_refused_by_file_and_line(
    layouts: tuple[Path, Path], name: str, old: str, new: str, words: str
) -> None:
    path = layouts[1] / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=words):
        open_source(layouts[1])


def test_a_row_without_its_image_is_refused(layouts: tuple[Path, Path]) -> None:
    (layouts[1] / DATA / "val/ILSVRC2012_val_00000014.JPEG").unlink()
    with pytest.raises(ValueError, match=f"{SOLUTION}, line 3: ILSVRC2012_val_00000014 is not in"):
        open_source(layouts[1])


def test_labels_of_the_validation_images_are_asked_for(layouts: tuple[Path, Path]) -> None:
    (layouts[1] / SOLUTION).unlink()
    with pytest.raises(InputError, match=f"{SOLUTION}: no such file; it comes with Kaggle.*, or the XML annotations"):
        open_source(layouts[1])


def test_without_the_mapping_classes_are_called_by_their_ids(layouts: tuple[Path, Path]) -> None:
    (layouts[1] / MAPPING).unlink()
    source = open_source(layouts[1])
    assert [entry.name for entry in source.splits[1].classes] == sorted(WORDS)
    assert f"{MAPPING}: no such file, so classes are named by their ids" in source.notes[0]


def test_xml_annotations_label_the_validation_images_as_the_solution_does(layouts: tuple[Path, Path]) -> None:
    kaggle = layouts[1]
    expected = open_source(kaggle).splits[1].fingerprint()
    rows = (kaggle / SOLUTION).read_text().split("\n")[1:-1]
    (kaggle / SOLUTION).unlink()
    (kaggle / "ILSVRC/Annotations/CLS-LOC/val").mkdir()
    for row in rows:
        image, _, boxes = row.partition(",")
        class_id = boxes.split()[0]
        xml = f"<annotation><filename>{image}</filename><object>\n<name>{class_id}</name></object></annotation>"
        (kaggle / f"ILSVRC/Annotations/CLS-LOC/val/{image}.xml").write_text(xml)
    assert open_source(kaggle).splits[1].fingerprint() == expected
    (kaggle / f"ILSVRC/Annotations/CLS-LOC/val/{image}.xml").write_text("<annotation></annotation>")
    with pytest.raises(InputError, match=f"{image}.xml: contains no object name"):
        open_source(kaggle)
    (kaggle / f"ILSVRC/Annotations/CLS-LOC/val/{image}.xml").unlink()
    with pytest.raises(InputError, match=f"{image}.xml: no such file, so .* has no label"):
        open_source(kaggle)


def test_the_unlabeled_test_images_are_left_out_or_stored_without_labels(layouts: tuple[Path, Path]) -> None:
    source = open_source(layouts[1])
    assert [split.name for split in source.splits] == ["train", "val"]
    assert any("CLS-LOC/test: the test images of ILSVRC have no labels" in note for note in source.notes)
    test = open_source(layouts[1], SourceOptions(unlabeled=True)).splits[2]
    assert (test.name, [entry.id for entry in test.classes], len(test.images)) == ("test", ["unlabeled"], 1)


def test_two_layouts_in_one_folder_are_refused_with_both_named(layouts: tuple[Path, Path]) -> None:
    folders, kaggle = layouts
    shutil.copytree(folders / "train", kaggle / "train")
    with pytest.raises(
        ValueError, match=r"training split: train \(class folders\) and ILSVRC/Data/CLS-LOC/train \(the"
    ):
        open_source(kaggle)


@pytest.mark.parametrize("inner", ["ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC"])
@pytest.mark.parametrize("is_relative", [False, True])
def test_any_folder_down_to_the_splits_may_be_named(
    layouts: tuple[Path, Path], inner: str, is_relative: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_source(layouts[1])
    assert whole.passed_over == (), "label files were read"
    monkeypatch.chdir(layouts[1] / inner)
    found = open_source(Path() if is_relative else layouts[1] / inner)
    assert [split.fingerprint() for split in found.splits] == [split.fingerprint() for split in whole.splits]
    assert found.splits[0].classes == whole.splits[0].classes
    assert all(line.endswith("Annotations") for line in found.passed_over), "not needed beside the solution"


def test_the_zip_of_kaggle_is_named_with_the_way_out(layouts: tuple[Path, Path], tmp_path: Path) -> None:
    packed = shutil.make_archive(str(tmp_path / "imagenet-object-localization-challenge"), "zip", layouts[1])
    with pytest.raises(
        InputError, match=r"Kaggle's download of ILSVRC, .*unzip imagenet-object-localization-challenge"
    ):
        open_source(Path(packed))
