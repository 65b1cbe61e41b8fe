"""Laws of lists that lie elsewhere than their images, or name them without an extension."""

import errno
import functools
import http.server
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.sources import Source, SourceOptions, open_source


@pytest.fixture
def kaggle(draw_source: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """A competition's folder, `train/ID.JPEG` with `labels.csv`, and class folders of the same images."""
    folders = draw_source(splits=("train",))
    (tmp_path / "dogs/train").mkdir(parents=True)
    (tmp_path / "dogs/test").mkdir()
    rows = []
    for path in sorted(folders.rglob("*.JPEG")):
        (tmp_path / "dogs/train" / path.name).write_bytes(path.read_bytes())
        rows.append(f"{path.stem},{path.parent.name}")
    (tmp_path / "dogs/test/of_nobody.JPEG").write_bytes(b"image")
    (tmp_path / "dogs/labels.csv").write_text("\n".join(["id,breed", *rows]) + "\n")
    return tmp_path / "dogs", folders


def opened(path: Path, image_root: Path | str | None = None) -> Source:
    root = None if image_root is None else str(image_root)
    return open_source(path, SourceOptions(image_column="id", label_column="breed", image_root=root))


def test_a_competitions_list_gives_what_class_folders_give(kaggle: tuple[Path, Path]) -> None:
    folder, folders = kaggle
    source = opened(folder / "labels.csv")
    assert source.splits[0].fingerprint() == open_source(folders).splits[0].fingerprint()
    images = f"its images are in {folder}/train, and .JPEG is appended to paths without an extension"
    assert source.notes == (f"{folder}/labels.csv: {images}",)


def test_paths_that_have_an_extension_keep_it(kaggle: tuple[Path, Path]) -> None:
    folder, folders = kaggle
    text = (folder / "labels.csv").read_text()
    last = text.splitlines()[-1].partition(",")[0]
    (folder / "labels.csv").write_text(text.replace(f"{last},", f"{last}.JPEG,"))
    assert opened(folder / "labels.csv").splits[0].fingerprint() == open_source(folders).splits[0].fingerprint()


def test_a_list_may_be_anywhere(kaggle: tuple[Path, Path], tmp_path: Path) -> None:
    folder, folders = kaggle
    (tmp_path / "lists").mkdir()
    moved = (folder / "labels.csv").rename(tmp_path / "lists/labels.csv")
    source = opened(moved, folder / "train")
    assert source.splits[0].fingerprint() == open_source(folders).splits[0].fingerprint()
    with pytest.raises(InputError, match=r"line 2: .*lists/.*No such file"):
        opened(moved)
    with pytest.raises(InputError, match=r"line 2: .*No such file"):  # a folder that is named is not searched
        opened(moved, folder)
    with pytest.raises(InputError, match=r"--image-root .*gone: no such folder; pass the folder where the paths of"):
        opened(moved, folder / "gone")
    with pytest.raises(InputError, match="--image-root is for list, but the source is read as class-folders"):
        open_source(folders, SourceOptions(image_root=str(folder)))


def test_images_that_may_be_in_two_folders_are_not_guessed(kaggle: tuple[Path, Path]) -> None:
    folder, _ = kaggle
    (folder / "small").mkdir()
    for path in (folder / "train").iterdir():
        (folder / "small" / path.name).write_bytes(b"image")
    with pytest.raises(
        InputError, match=r"its images may be .*/small/\S+ and .*/train/\S+; choose .* with --image-root"
    ):
        opened(folder / "labels.csv")
    (folder / "train" / path.name).unlink()  # one missing photograph does not make the others the images
    with pytest.raises(InputError, match=r"its images may be .*; choose .* with --image-root"):
        opened(folder / "labels.csv")


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """`put(list, *images)` writes `l.csv`, its lines separated by spaces, and images that contain their own paths."""

    def written(lines: str, *images: str) -> Path:
        for image in images:
            (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / image).write_bytes(image.encode())
        (tmp_path / "l.csv").write_text("\n".join(lines.split()))
        return tmp_path / "l.csv"

    return written


def contents(source: Source) -> list[str]:
    return [image.read().decode() for split in source.splits for image in split.images]


def test_a_missing_image_does_not_move_the_others(put: Callable[..., Path]) -> None:
    """The masks, which alone are complete, were once taken for the images."""
    path = put("image,label 1.jpg,a 2.jpg,b 3.jpg,b", "1.jpg", "2.jpg", *(f"masks/{i}.jpg" for i in (1, 2, 3)))
    source = open_source(path)
    assert [image.container for image in source.splits[0].images] == [str(path.parent / f"{i}.jpg") for i in (1, 2, 3)]
    assert len(source.notes) == 1 and "1 of 3 listed images are missing" in source.notes[0]


@pytest.mark.parametrize("folder", ["", "images/"])
def test_every_path_gets_the_extension_of_its_own_image(put: Callable[..., Path], folder: str) -> None:
    images = [f"{folder}{name}" for name in ("1.jpg", "2.JPG", "3.png", "4.avif")]
    path = put("image,label 1,a 2,b 3,b 4,b 9,b", *images, f"{folder}4.txt", f"{folder}10.png")
    source = open_source(path)
    where = [image.container for image in source.splits[0].images]
    assert where == [*(str(path.parent / image) for image in images), str(path.parent / f"{folder}9.jpg")]
    assert ".jpg or .JPG or .png or .avif is appended to paths without an extension" in source.notes[0]


def test_an_extension_that_could_be_one_of_two_is_not_guessed(put: Callable[..., Path]) -> None:
    path = put("image,label 1,a 2,b", "images/1.jpg", "images/2.jpg", "images/2.png")
    words = r"line 3: 2 may be images/2.jpg or images/2.png in .*; write the extension in the list"
    with pytest.raises(InputError, match=words):
        open_source(path)


def test_images_spread_over_folders_are_refused_with_advice_that_helps(put: Callable[..., Path]) -> None:
    path = put("image,label 1,cat 2,dog", "cat/1.jpg", "dog/2.jpg")
    with pytest.raises(InputError, match=r"cat/1.jpg and .*dog/2.jpg; write the folder in every path of the list"):
        open_source(path)
    put("image,label 1,cat 2,dog", "images/1.jpg", "images/2.jpg")
    with pytest.raises(InputError, match=r"cat/1.jpg and .*images/1.jpg; choose their folder with --image-root"):
        open_source(path)
    path = put("image,label cat/1,cat dog/2,dog")
    assert contents(open_source(path)) == ["cat/1.jpg", "dog/2.jpg"]


def test_folders_that_a_list_does_not_need_are_not_looked_into(
    put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They can be many, or unreadable."""
    path = put("image,label a/1.jpg,a b/2.jpg,b", "a/1.jpg", "b/2.jpg")
    (path.parent / "private").symlink_to("private")  # an error of the disk, for root too
    assert contents(open_source(path)) == ["a/1.jpg", "b/2.jpg"]
    path = put("image,label 3.jpg,a 4.jpg,b", "images/3.jpg", "images/4.jpg")
    assert contents(open_source(path)) == ["images/3.jpg", "images/4.jpg"]
    path = put(f"image,label {'x' * 300},a 3,b")  # too long for any file
    assert f"{path.parent}/images/{'x' * 300}.jpg" in [one.container for one in open_source(path).splits[0].images]
    monkeypatch.setattr("os.scandir", lambda folder: pytest.fail(f"{folder} was listed"))
    path = put("image,label images/3.jpg,a images/4.jpg,b")
    assert contents(open_source(path)) == ["images/3.jpg", "images/4.jpg"]


def test_folders_that_cannot_be_listed_can_still_hold_images(
    put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def scandir(folder: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr("os.scandir", scandir)
    path = put("image,label a/1,a b/2,b", "a/1.jpg", "b/2.png")
    assert contents(open_source(path)) == ["a/1.jpg", "b/2.png"]


def test_paths_of_windows_are_found_wherever_the_images_are(put: Callable[..., Path]) -> None:
    path = put("image,label cat\\1.jpg,a dog\\2,b", "images/cat/1.jpg", "images/dog/2.png")
    assert contents(open_source(path)) == ["images/cat/1.jpg", "images/dog/2.png"]
    path = put("image,label ..\\1.jpg,a")
    with pytest.raises(InputError, match=r"line 2: \.\.\\1.jpg leads out of"):
        open_source(path)


def test_spaces_at_the_ends_of_paths_and_unicode_forms_do_not_hide_images(put: Callable[..., Path]) -> None:
    nfc, nfd = "caf\u00e9", "cafe\u0301"
    path = put("", f"images/{nfc}/1.jpg", f"images/{nfd}2.jpg", "images/3.jpg", "images/4.jpg")
    path.write_text(f"image,label\n{nfd}\\1.jpg,a\n{nfc}2.jpg,b\n3.jpg ,c\n4\t,d\n")
    source = open_source(path)
    where = [image.container for image in source.splits[0].images]
    expected = [f"{nfc}/1.jpg", f"{nfd}2.jpg", "3.jpg", "4.jpg"]
    assert where == [f"{path.parent}/images/{name}" for name in expected]
    assert source.notes == (
        f"{path}: its images are in {path.parent}/images, and .jpg is appended to paths without an extension",
    )
    (path.parent / "images/3.jpg ").write_bytes(b"x")  # what is written exactly so comes first
    assert f"{path.parent}/images/3.jpg " in [image.container for image in open_source(path).splits[0].images]


def test_images_may_be_in_a_folder_of_the_same_name_again(put: Callable[..., Path]) -> None:
    path = put("image,label 1,a 2,b", "train/train/1.jpg", "train/train/2.jpg", "test/test/3.jpg")
    assert contents(open_source(path)) == ["train/train/1.jpg", "train/train/2.jpg"]


def test_a_list_that_is_sorted_by_the_folders_of_its_images_is_no_exception(put: Callable[..., Path]) -> None:
    """Only the first folder was once looked for, and the images in the others were missing."""
    cats = [str(i) for i in range(100)]
    path = put(f"image,label {' '.join(f'{i},cat' for i in cats)} 100,dog 101,dog 102,dog 103,dog", "dog/100.jpg")
    put(path.read_text(), *(f"cat/{i}.jpg" for i in cats), *(f"dog/{i}.jpg" for i in range(101, 104)))
    with pytest.raises(InputError, match=r"its images are in several folders, e.g. .*; write the folder in every path"):
        open_source(path)


def test_a_list_without_any_image_is_told_of_the_option_if_that_can_help(put: Callable[..., Path]) -> None:
    path = put("image,label 1.jpg,a 2.jpg,b")
    with pytest.raises(InputError, match=r"line 2: .*; correct the paths, or pass the folder .* with --image-root$"):
        open_source(path)
    for text in ("image,label 1.jpg,a", "image,label /nowhere/1.jpg,a"):
        path = put(text)
        with pytest.raises(InputError, match=r"line 2: .*; correct the path or remove the line$"):
            open_source(path, SourceOptions(image_root=str(path.parent)))


def test_ids_of_a_json_list_may_be_numbers(put: Callable[..., Path]) -> None:
    path = put("", "images/1.jpg", "images/20.jpg").with_suffix(".jsonl")
    path.write_text('{"image": 20, "label": "b"}\n{"image": 1, "label": "a"}\n')
    assert contents(open_source(path)) == ["images/1.jpg", "images/20.jpg"]
    path.write_text('{"image": true, "label": "b"}\n')
    with pytest.raises(InputError, match="line 1: path is True; expected nonempty text"):
        open_source(path)


def test_a_path_may_not_leave_the_folder_where_it_starts(kaggle: tuple[Path, Path]) -> None:
    folder, _ = kaggle
    (folder / "labels.csv").write_text("id,breed\n../labels.csv,x\n")
    with pytest.raises(InputError, match=r"line 2: \.\./labels.csv leads out of .*train; if intended, write"):
        opened(folder / "labels.csv", folder / "train")


def test_the_hint_beside_unlabeled_images_names_the_list_and_no_example_of_a_submission(
    kaggle: tuple[Path, Path],
) -> None:
    folder, _ = kaggle
    (folder / "example_submission.csv").write_text("id,beagle,pug\n")
    (folder / "a_test.csv").write_text("id\n")
    (folder / "test.csv").write_text("id\n")
    with pytest.raises(InputError, match=r"train: images .*if .*dogs/labels.csv lists them, pass that file as SOURCE"):
        open_source(folder)
    (folder / "train.csv").write_text("id,label\n")
    with pytest.raises(InputError, match=r"train: images .*if .*dogs/train.csv lists them, pass that file as SOURCE"):
        open_source(folder)


def test_images_of_a_local_list_may_be_in_a_store(kaggle: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("obstore")
    folder, _ = kaggle
    images = sorted((folder / "train").iterdir())
    (tmp_path / "l.csv").write_text("id,breed\n" + "".join(f"{path.name},x\n" for path in images))
    files = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/train"
        (split,) = opened(tmp_path / "l.csv", url).splits
        assert [image.read() for image in split.images] == [path.read_bytes() for path in images]
        (tmp_path / "ids.csv").write_text("id,breed\n" + "".join(f"{path.stem},x\n" for path in images))
        (split,) = opened(tmp_path / "ids.csv", url).splits
        assert [image.read() for image in split.images] == [path.read_bytes() for path in images]
        server.shutdown()
