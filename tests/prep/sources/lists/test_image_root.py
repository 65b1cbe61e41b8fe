"""Laws of lists that lie elsewhere than their images, or name them without an extension."""

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
    (folder / "small" / path.name).unlink()
    assert f"its images are in {folder}/train" in opened(folder / "labels.csv").notes[0]  # which alone has all


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
    with pytest.raises(InputError, match=r"if .*dogs/labels.csv lists them, pass that file as SOURCE"):
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
        server.shutdown()
