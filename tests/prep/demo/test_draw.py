import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexkit.prep.demo.draw import DEMO_CLASSES, EXIF_ORIENTATION, DemoImage, draw_demo_images, draw_scene


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_draws_the_same_files_with_any_number_of_workers_and_after_an_interruption(
    tmp_path: Path,
) -> None:
    for folder, workers in (("one", 1), ("two", 2)):
        draw_demo_images(tmp_path / folder, seed=3, num_train=20, num_val=10, workers=workers)
    drawn = hashes(tmp_path / "one")
    assert drawn == hashes(tmp_path / "two")
    assert len(drawn) == 30
    for path in list((tmp_path / "two").rglob("*1.JPEG")):
        path.unlink()
        path.with_name(f"{path.name}.0123456789ab.partial").write_bytes(b"what a killed writer left")
    draw_demo_images(tmp_path / "two", seed=3, num_train=20, num_val=10, workers=1)
    assert hashes(tmp_path / "two") == drawn


def test_another_seed_split_or_number_is_another_picture() -> None:
    pictures = {
        np.asarray(draw_scene("fish", DemoImage(seed=seed, split=split, class_name="fish", number=n).rng())).tobytes()
        for seed, split, n in ((0, "train", 0), (1, "train", 0), (0, "val", 0), (0, "train", 1))
    }
    assert len(pictures) == 4


@pytest.mark.parametrize("class_name", DEMO_CLASSES)
def test_sizes_and_light_are_those_of_photographs(class_name: str) -> None:
    scene = draw_scene(class_name, np.random.default_rng(5))
    assert scene.mode == "RGB"
    assert all(320 <= side <= 640 for side in scene.size)
    pixels = np.asarray(scene)
    assert 15 < pixels.mean() < 240 and pixels.std() > 10


def test_there_are_gray_cmyk_png_and_turned_files_among_them(tmp_path: Path) -> None:
    draw_demo_images(tmp_path, seed=0, num_train=100, num_val=10, workers=2)
    kinds = set()
    for path in (tmp_path / "train").rglob("*"):
        if path.is_file():
            with Image.open(path) as image:
                kinds.add((image.format, image.mode, image.getexif().get(EXIF_ORIENTATION, 1)))
    assert kinds == {("JPEG", "RGB", 1), ("PNG", "RGB", 1), ("JPEG", "L", 1), ("JPEG", "CMYK", 1), ("JPEG", "RGB", 6)}


def test_counts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiple of 10"):
        draw_demo_images(tmp_path, seed=0, num_train=25, num_val=10, workers=1)


@pytest.mark.parametrize("place", ["train/holiday/beach.jpg", "train/beach.jpg", "beach.PNG", "val/circle/2/b.webp"])
def test_a_folder_that_holds_images_of_others_at_any_depth_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).touch()
    with pytest.raises(ValueError, match=rf"{Path(place).name}: not an image of this demo set"):
        draw_demo_images(tmp_path, seed=0, num_train=10, num_val=10, workers=1)


def test_what_systems_leave_behind_and_notes_do_not_disturb(tmp_path: Path) -> None:
    for name in (".DS_Store", "train/._a.jpg", "train/boat/Thumbs.db", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    draw_demo_images(tmp_path, seed=0, num_train=10, num_val=10, workers=1)
    assert len([path for path in tmp_path.rglob("*") if path.name.startswith("0_")]) == 20
