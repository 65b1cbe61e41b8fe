"""Laws of the original archives: read in place, the same images and bytes as class folders, refused when incomplete."""

import gzip
import io
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexkit.errors import InputError
from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.sources import SourceOptions, open_source
from alexkit.prep.sources.ilsvrc import devkit
from alexkit.prep.sources.ilsvrc.devkit import read_devkit, read_meta

scipy_io = pytest.importorskip("scipy.io", reason="scipy writes the MATLAB files of these tests")

# What holds the names of classes, which not every layout knows.
NAMED = ("manifest.json", "README.md", "sources.jsonl")
# As in the real devkit, numbers are not in the order of WordNet ids, and inner nodes of the tree come last.
NUMBERS = {"n00000000": 2, "n00000001": 3, "n00000002": 1}
WORDS = {"n00000000": "tench, Tinca tinca", "n00000001": "goldfish", "n00000002": "great white shark, man-eater"}


def meta_mat(year: int = 2012, **save: object) -> bytes:
    """A `meta.mat` with the fields and the shape of the real one."""
    kinds = [(f"ILSVRC{year}_ID", object), ("WNID", object), ("words", object), ("gloss", object)]
    kinds += [("num_children", object), ("children", object), ("wordnet_height", object), ("num_train_images", object)]
    rows = [(NUMBERS[i], i, WORDS[i], "a fish", 0, np.zeros((1, 0)), 0, 1300) for i in sorted(NUMBERS, key=NUMBERS.get)]  # type: ignore[arg-type]
    rows.append((1001, "n99999999", "entity", "that which is", 3, np.array([[1, 2, 3]], np.uint8), 19, 0))
    file = io.BytesIO()
    scipy_io.savemat(file, {"synsets": np.array(rows, kinds).reshape(-1, 1)}, **save)
    return file.getvalue()


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def tar_of(files: dict[str, bytes], format_: int = tarfile.GNU_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format_) as tar:
        for name, content in files.items():
            add(tar, name, content)
    return file.getvalue()


def class_tars(folders: Path, format_: int = tarfile.GNU_FORMAT) -> dict[str, bytes]:
    # Not in order, as an archive need not be.
    return {
        f"{folder.name}.tar": tar_of({path.name: path.read_bytes() for path in sorted(folder.iterdir())}, format_)
        for folder in sorted((folders / "train").iterdir(), reverse=True)
    }


def number_validation(folders: Path) -> list[int]:
    """Rename the validation images of class folders as in the original; the ground truth."""
    truth = []
    paths = sorted((folders / "val").rglob("*.JPEG"), key=lambda path: path.read_bytes())
    for i, path in enumerate(paths):
        truth.append(NUMBERS[path.parent.name])
        path.rename(path.with_name(f"ILSVRC2012_val_{i + 1:08d}.JPEG"))
    return truth


def write_devkit(path: Path, truth: list[int], year: int = 2012, **save: object) -> None:
    lines = "".join(f"{number}\n" for number in truth).encode()
    with tarfile.open(path, "w:gz") as tar:
        add(tar, "kit/data/meta.mat", meta_mat(year, **save))
        add(tar, f"kit/data/ILSVRC{year}_validation_ground_truth.txt", lines)


@pytest.fixture
def layouts(tmp_path: Path, draw_source: Callable[..., Path]) -> dict[str, Path]:
    """The same images as class folders, as the archives of 2012, and with class tars and a flat `val`."""
    folders = draw_source()
    truth = number_validation(folders)
    flat = {path.name: path.read_bytes() for path in sorted((folders / "val").rglob("*.JPEG"))}
    archives, extracted = tmp_path / "archives", tmp_path / "extracted"
    archives.mkdir()
    (archives / "ILSVRC2012_img_train.tar").write_bytes(tar_of(class_tars(folders)))
    (archives / "ILSVRC2012_img_val.tar").write_bytes(tar_of(flat))
    write_devkit(archives / "ILSVRC2012_devkit_t12.tar.gz", truth, do_compression=True)
    (extracted / "train").mkdir(parents=True)
    (extracted / "val").mkdir()
    for name, content in class_tars(folders, tarfile.PAX_FORMAT).items():
        (extracted / "train" / name).write_bytes(content)
    for name, content in flat.items():
        (extracted / "val" / name).write_bytes(content)
    write_devkit(extracted / "ILSVRC2012_devkit_t12.tar.gz", truth, do_compression=False)
    return {"folders": folders, "archives": archives, "extracted": extracted}


def test_all_layouts_list_the_same_images(layouts: dict[str, Path]) -> None:
    listings = []
    for folder in layouts.values():
        source = open_source(folder)
        listings.append([(image.name, image.label, image.read()) for split in source.splits for image in split.images])
        assert [split.name for split in source.splits] == ["train", "val"]
    assert listings[0] == listings[1] == listings[2]
    fingerprints = [[split.fingerprint() for split in open_source(folder).splits] for folder in layouts.values()]
    assert fingerprints[0] == fingerprints[1] == fingerprints[2]


def test_all_layouts_give_the_same_shards(
    layouts: dict[str, Path], tmp_path: Path, tree_hashes: Callable[[Path], dict[str, str]]
) -> None:
    options = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=4, num_workers=2)
    trees = []
    for name, folder in layouts.items():
        out = tmp_path / f"out-{name}"
        build_shards(open_source(folder), out, options, on_split=lambda split: lambda done, num_bad: None)
        trees.append({path: digest for path, digest in tree_hashes(out).items() if not path.endswith(NAMED)})
    assert trees[0] == trees[1] == trees[2]  # manifests differ in the names of classes, which only a devkit knows


@pytest.mark.parametrize("inside", ["data", ""])
def test_a_devkit_may_be_unpacked(layouts: dict[str, Path], inside: str) -> None:
    packed = open_source(layouts["archives"])
    archive = layouts["archives"] / "ILSVRC2012_devkit_t12.tar.gz"
    folder = layouts["archives"] / "ILSVRC2012_devkit_t12" / inside
    folder.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            (folder / Path(member.name).name).write_bytes(tar.extractfile(member).read())  # type: ignore[union-attr]
    archive.unlink()
    unpacked = open_source(layouts["archives"])
    assert [split.fingerprint() for split in unpacked.splits] == [split.fingerprint() for split in packed.splits]
    assert unpacked.splits[1].classes == packed.splits[1].classes and unpacked.passed_over == packed.passed_over == ()
    (folder / "ILSVRC2012_validation_ground_truth.txt").unlink()
    with pytest.raises(InputError, match="ILSVRC2012_devkit_t12: holds no validation ground truth"):
        open_source(layouts["archives"])


def test_the_source_says_what_it_is_and_what_is_missing(layouts: dict[str, Path]) -> None:
    source = open_source(layouts["archives"])
    assert "the training archive of ILSVRC in" in source.description and "ILSVRC2012_img_val.tar" in source.description
    assert [entry.name for entry in source.splits[0].classes] == [WORDS[id_] for id_ in sorted(WORDS)]
    assert source.notes == (
        "ILSVRC2012_img_train.tar: 15 images of 3 classes; ILSVRC 2012 has 1281167 images of 1000 classes",
        "ILSVRC2012_img_val.tar: 15 images of 3 classes; ILSVRC 2012 has 50000 images of 1000 classes",
    )
    assert open_source(layouts["folders"]).notes == ()


def test_a_folder_of_class_tars_alone_is_one_split(layouts: dict[str, Path]) -> None:
    (split,) = open_source(layouts["extracted"] / "train").splits
    assert split.name == "train" and split.images_per_class() == {"n00000000": 5, "n00000001": 5, "n00000002": 5}


def test_the_archives_of_2010_are_known(layouts: dict[str, Path], tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "ILSVRC2010_images_train.tar").write_bytes((layouts["archives"] / "ILSVRC2012_img_train.tar").read_bytes())
    (old / "ILSVRC2010_images_val.tar").write_bytes(
        tar_of({f"val/ILSVRC2010_val_{i:08d}.JPEG": b"x" for i in (1, 2, 3)})
    )
    write_devkit(old / "devkit-1.0.tar.gz", [1, 2, 3], year=2010)
    train, val = open_source(old).splits
    assert len(train.images) == 15
    assert [(image.name, image.label) for image in val.images] == [
        ("n00000000/ILSVRC2010_val_00000002.JPEG", 0),
        ("n00000001/ILSVRC2010_val_00000003.JPEG", 1),
        ("n00000002/ILSVRC2010_val_00000001.JPEG", 2),
    ]


def test_the_test_images_of_2010_are_labeled_by_their_ground_truth(layouts: dict[str, Path], tmp_path: Path) -> None:
    """Table 1 of the paper is of these."""
    old = tmp_path / "old"
    old.mkdir()
    (old / "ILSVRC2010_images_train.tar").write_bytes((layouts["archives"] / "ILSVRC2012_img_train.tar").read_bytes())
    names = [f"ILSVRC2010_test_{i:08d}.JPEG" for i in (1, 2, 3)]
    (old / "ILSVRC2010_images_test.tar").write_bytes(tar_of({f"test/{name}": b"x" for name in names}))
    write_devkit(old / "devkit-1.0.tar.gz", [1, 2, 3], year=2010)
    left_out = open_source(old)
    assert [split.name for split in left_out.splits] == ["train"]
    assert "for ILSVRC 2010, put ILSVRC2010_test_ground_truth.txt beside" in left_out.notes[0]
    (old / "ILSVRC2010_test_ground_truth.txt").write_text("3\n1\n2\n")
    packed = open_source(old)
    assert [(image.name, image.label) for image in packed.splits[1].images] == [
        ("n00000000/ILSVRC2010_test_00000003.JPEG", 0),
        ("n00000001/ILSVRC2010_test_00000001.JPEG", 1),
        ("n00000002/ILSVRC2010_test_00000002.JPEG", 2),
    ]
    assert packed.splits[1].name == "test" and packed.passed_over == ()
    (old / "ILSVRC2010_images_test.tar").unlink()
    (old / "test").mkdir()
    for name in names:
        (old / "test" / name).write_bytes(b"x")
    assert [split.fingerprint() for split in open_source(old).splits] == [one.fingerprint() for one in packed.splits]
    (old / "ILSVRC2010_test_ground_truth.txt").write_text("3\nn00000001\n")
    with pytest.raises(InputError, match=r"test_ground_truth.txt is damaged \('n00000001' is not a class number"):
        open_source(old)


def test_a_devkit_of_another_year_labels_nothing(layouts: dict[str, Path]) -> None:
    """Those of 2010 and 2012 have 50,000 validation images each, whose numbers mean other classes."""
    archives = layouts["archives"]
    (archives / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    write_devkit(archives / "devkit-1.0.tar.gz", [1] * 15, year=2010)
    with pytest.raises(
        InputError, match="not one of the 15 validation images of ILSVRC 2010, the year of the devkit; move"
    ):
        open_source(archives)


def cut(path: Path, num_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:num_bytes])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: cut(f / "ILSVRC2012_img_train.tar", 20_000), "img_train.tar: .*not complete"),
        (lambda f: cut(f / "ILSVRC2012_img_val.tar", 512 * 20), "img_val.tar: .*not complete"),
        (lambda f: (f / "ILSVRC2012_img_train.tar").write_bytes(b"x" * 2048), "no tar header at byte 0"),
        (lambda f: (f / "ILSVRC2012_img_train.tar").write_bytes(tar_of({"a.jpg": b"x"})), "holds no class tars"),
        (
            lambda f: (f / "ILSVRC2012_devkit_t12.tar.gz").unlink(),
            "its labels are in the devkit, which is missing; put",
        ),
        (lambda f: cut(f / "ILSVRC2012_devkit_t12.tar.gz", 300), "not a devkit archive|no meta.mat"),
        (
            lambda f: write_devkit(f / "ILSVRC2012_devkit_t12.tar.gz", [1, 2]),
            "not one of the 2 validation images",
        ),
        (lambda f: write_devkit(f / "ILSVRC2012_devkit_t12.tar.gz", [77] * 15), "class 77, which is not in the devkit"),
        (lambda f: (f / "train/cat").mkdir(parents=True), "more than one training split: .* and train"),
    ],
)
def test_incomplete_or_ambiguous_archives_are_refused(
    layouts: dict[str, Path], damage: Callable[[Path], object], words: str
) -> None:
    damage(layouts["archives"])
    with pytest.raises(ValueError, match=words):
        open_source(layouts["archives"])


def test_an_archive_that_shrinks_while_it_is_read_is_noticed(layouts: dict[str, Path]) -> None:
    val = open_source(layouts["archives"]).splits[1]
    cut(layouts["archives"] / "ILSVRC2012_img_val.tar", 512 * 4)
    with pytest.raises(ValueError, match="when the source was listed"):
        max(val.images, key=lambda image: image.offset).read()


@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read(tmp_path: Path, format_: int) -> None:
    name = "n1_" + "y" * 150 + ".JPEG"
    (tmp_path / "n1.tar").write_bytes(tar_of({name: b"x", "n1_2.JPEG": b"y"}, format_))
    (split,) = open_source(tmp_path, SourceOptions(layout="class-tars")).splits
    assert [image.name for image in split.images] == ["n1/n1_2.JPEG", f"n1/{name}"]


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_matlab_file_is_refused_with_one_line(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(meta_mat(do_compression=bool(seed % 2)))
    for position in rng.integers(0, len(data), 6):
        data[position] = rng.integers(256)
    try:
        read_meta(bytes(data[: rng.integers(100, len(data) + 1)]), Path("kit.tar.gz"))
    except InputError as error:
        assert "\n" not in str(error) and str(error).startswith("kit.tar.gz: a damaged meta.mat")


def packed_devkit(path: Path, *blocks: bytes) -> Path:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for block in blocks:
            file.write(block)
    return path


def pax_header_of(num_bytes: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, num_bytes
    return info.tobuf()


def test_a_devkit_that_claims_a_gigabyte_takes_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devkit, "MAX_DEVKIT_BYTES", 2**26)
    zeros = bytes(2**22)
    bomb = packed_devkit(tmp_path / "ILSVRC2012_devkit_t12.tar.gz", pax_header_of(2**25), *[zeros] * 15)
    with pytest.raises(InputError, match=r"a header of 33554432 bytes at byte 0, more than 1048576"):
        read_devkit(bomb)  # imports all that reading needs, before memory is counted
    packed_devkit(bomb, pax_header_of(2**30), *[zeros] * 17)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"devkit_t12.tar.gz: unpacks to more than 67108864 bytes"):
            read_devkit(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("WNID", "tench", "a row with the id 'tench'"),
        ("WNID", 7.0, r"a row with the id \[7.0\]"),
        ("words", 7.0, r"a row with the number 1.* and the name \[7.0\]"),
        ("ILSVRC2012_ID", "one", "a row with the number None"),
        ("ILSVRC2012_ID", 1.5, "a row with the number 1.5"),
    ],
)
def test_a_row_of_meta_mat_that_is_damaged_is_one_line(field: str, value: object, words: str) -> None:
    row = {"ILSVRC2012_ID": 1, "WNID": "n00000000", "words": "tench", field: value}
    file = io.BytesIO()
    scipy_io.savemat(file, {"synsets": np.array([tuple(row.values())], [(name, object) for name in row]).reshape(1, 1)})
    with pytest.raises(InputError, match=rf"kit.tar.gz: a damaged meta.mat \({words}"):
        read_meta(file.getvalue(), Path("kit.tar.gz"))


@pytest.mark.parametrize("line", ["9" * 5000, "-1", "n01440764", "1.5"])
def test_a_damaged_ground_truth_is_one_line(tmp_path: Path, line: str) -> None:
    write_devkit(tmp_path / "ILSVRC2012_devkit_t12.tar.gz", [1, line], do_compression=True)  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"ground_truth.txt is damaged \('.{1,40}' is not a class number\)"):
        read_devkit(tmp_path / "ILSVRC2012_devkit_t12.tar.gz")


def test_a_meta_mat_without_its_table_is_one_line() -> None:
    file = io.BytesIO()
    scipy_io.savemat(file, {"others": np.zeros(3)})
    with pytest.raises(InputError, match=r"a damaged meta.mat \(no table of synsets\)"):
        read_meta(file.getvalue(), Path("kit.tar.gz"))
