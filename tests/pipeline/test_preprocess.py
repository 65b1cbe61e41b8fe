"""The module for serving returns what a loader yields, even after it was exported."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from alexkit.errors import InputError
from alexkit.pipeline import CenterCrop, Loader, Preprocess, TenViews, TrainAugment

from ..conftest import draw_image

EXACT = [
    CenterCrop(crop=55),
    CenterCrop(crop=55, mean="crop"),
    CenterCrop(crop=(40, 57), mean="imagenet", std="imagenet", pixel_range="0-1"),
    CenterCrop(crop=64, mean="channel", std="channel"),
    CenterCrop(crop=48, mean="none"),
    TenViews(crop=55, mean="crop"),
    TenViews(crop=(40, 56), mean=(120.0, 110.0, 100.0), std=58),
]


def stored_and_loaded(folder: Path, augment: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The first images of a set as they are stored, uint8 (N, H, W, 3), and the loader's batch of them."""
    with Loader(folder, batch_size=5, augment=augment) as loader:
        batch = next(iter(loader))
        stored = np.stack([np.asarray(loader.dataset[i].image) for i in batch.indices.tolist()])
        return torch.from_numpy(stored), batch.images.clone()


@pytest.mark.parametrize("augment", EXACT, ids=str)
def test_it_gives_the_loaders_batches_bit_for_bit(draw_shards: Any, augment: Any) -> None:
    folder = draw_shards(format="png")
    images, expected = stored_and_loaded(folder, augment)
    preprocess = Preprocess(augment, folder)
    assert torch.equal(preprocess(images), expected)
    assert torch.equal(preprocess(images.permute(0, 3, 1, 2)), expected)
    assert preprocess(images).is_contiguous()


def wide(number: int, label: int, size_px: int) -> NDArray[np.uint8]:
    return draw_image(number, label, size_px + 21)[21:]


def test_whole_images_that_are_not_square_are_cut_where_the_loader_cuts_them(draw_shards: Any) -> None:
    folder = draw_shards(format="png", fit="shorter", draw=wide)
    for augment in (CenterCrop(crop=48, mean="none"), TenViews(crop=(41, 48), mean="none")):
        images, expected = stored_and_loaded(folder, augment)
        assert images.shape[1:] == (64, 85, 3)
        assert torch.equal(Preprocess(augment, folder)(images), expected)


def test_a_mean_image_before_a_gain_is_rounded_once_more(draw_shards: Any) -> None:
    augment = TenViews(crop=55, mean="crop", std="channel")
    images, expected = stored_and_loaded(draw_shards(format="png"), augment)
    # Numbers below 8, whose last place is 2**-21.
    assert expected.abs().max() < 8
    assert (Preprocess(augment, draw_shards(format="png"))(images) - expected).abs().max() <= 2**-21


@pytest.mark.parametrize("resize", [40, 90])
def test_resized_images_agree_within_three_gray_levels(draw_shards: Any, resize: int) -> None:
    folder = draw_shards(format="png", fit="shorter", draw=wide)
    augment = CenterCrop(resize=resize, crop=32, mean="none")
    images, expected = stored_and_loaded(folder, augment)
    differences = (Preprocess(augment, folder)(images) - expected).abs()
    assert differences.max() <= 3 and differences.mean() <= 0.2


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("augment", [EXACT[0], EXACT[2], EXACT[5]], ids=str)
def test_exported_and_traced_it_gives_the_same_for_any_number_of_images(draw_shards: Any, augment: Any) -> None:
    folder = draw_shards(format="png")
    images, expected = stored_and_loaded(folder, augment)
    preprocess, example = Preprocess(augment, folder), torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    for convert in (torch.Tensor.contiguous, lambda x: x.permute(0, 3, 1, 2).contiguous()):
        program = torch.export.export(
            preprocess, (convert(example),), dynamic_shapes={"images": {0: torch.export.Dim("images", min=1)}}
        )
        file = io.BytesIO()
        torch.export.save(program, file)
        file.seek(0)
        loaded = torch.export.load(file).module()
        traced = torch.jit.trace(preprocess, convert(example), check_trace=False)
        for module in (loaded, traced):
            assert torch.equal(module(convert(images)), expected)
            assert torch.equal(module(convert(images[:1])), expected[:1])


def test_resizing_exports_too(draw_shards: Any) -> None:
    folder = draw_shards(format="png")
    preprocess = Preprocess(CenterCrop(resize=48, crop=32, mean="imagenet", std="imagenet"), folder)
    images = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    assert torch.equal(torch.export.export(preprocess, (images,)).module()(images), preprocess(images))


def test_what_it_cannot_take_is_named(draw_shards: Any) -> None:
    folder = draw_shards(format="png")
    with pytest.raises(InputError, match="CenterCrop"):
        Preprocess(TrainAugment(crop=56), folder)  # type: ignore[arg-type]
    preprocess = Preprocess(CenterCrop(crop=56), folder)
    pixels = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    for wrong, words in (
        (pixels.float(), "torch.float32"),
        (pixels[0], r"\(64, 64, 3\)"),
        (pixels[..., :2], r"\(2, 64, 64, 2\)"),
        (pixels[:, :60], "60 x 64 px"),
        (torch.zeros(2, 3, 80, 80, dtype=torch.uint8), "80 x 80 px"),
    ):
        with pytest.raises(InputError, match=words):
            preprocess(wrong)


def test_a_saved_program_needs_neither_alexkit_nor_dali(draw_shards: Any, tmp_path: Path) -> None:
    preprocess = Preprocess(EXACT[0], draw_shards(format="png"))
    program = torch.export.export(preprocess, (torch.zeros(1, 64, 64, 3, dtype=torch.uint8),))
    torch.export.save(program, tmp_path / "program.pt2")
    script = (
        "import sys; sys.modules['alexkit'] = sys.modules['nvidia'] = None\n"
        "import torch; torch.export.load(sys.argv[1]).module()(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "program.pt2")], capture_output=True, text=True, timeout=100
    )
    assert run.returncode == 0, run.stderr
