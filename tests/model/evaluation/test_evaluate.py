"""Evaluations on several processes, without labels, on fewer classes, and of sets that do not fit."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from alexkit.cli.alexeval import alexeval
from alexkit.cli.alexprep import alexprep
from alexkit.cli.eval.evaluate import table
from alexkit.errors import InputError
from alexkit.model import Evaluation, Network, Switches, TrainedNetwork, evaluate, load_network, wiring
from alexkit.model.evaluation import evaluate as evaluate_module
from alexkit.model.evaluation.report import write_report
from alexkit.model.evaluation.report.tables import append_timm_rows
from alexkit.model.evaluation.retrieval import CodeOptions, stored_features, trained_codes
from alexkit.model.processes.launch import _free_port
from alexkit.prep import ShardSet

from ...conftest import draw_image

SCRIPT = Path(__file__).with_name("evaluate_script.py")
DrawShards = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(draw_shards: DrawShards, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards, a weights file and its recipe."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "train").symlink_to(draw_shards(num_samples=24, size_px=32, num_classes=6))
    (folder / "val").symlink_to(draw_shards(num_samples=29, size_px=32, num_classes=6, split="val"))
    network = Network(wiring(Switches(kind="cifar10-19")), 6, seed=5)
    weights = {name: 3 * x.contiguous() for name, x in network.state_dict().items()}
    save_file(weights, folder / "w.safetensors")
    (folder / "recipe.toml").write_text(
        '[network]\nkind = "cifar10-19"\n[data]\ncrop = 32\nflip = false\n[training]\nprecision = "fp32"\n'
    )
    return folder


def test_caffes_weights_are_refused_under_a_recipe_of_another_network(tmp_path: Path) -> None:
    (tmp_path / "bvlc.caffemodel").touch()
    words = (
        r"--recipe b2: .*bvlc.caffemodel holds Caffe's AlexNet, a different network .*network.norm=caffe.*omit --recipe"
    )
    with pytest.raises(InputError, match=words):
        load_network(tmp_path / "bvlc.caffemodel", recipe="b2")
    with pytest.raises(InputError, match="has no layer with weights"):
        load_network(tmp_path / "bvlc.caffemodel", recipe="caffe")


def unlabeled_set(images: Path, out: Path) -> Path:
    """The shards of a flat folder of images without labels, made as a person does."""
    words = ["shard", str(images), "--out", str(out), "--size", "32", "--unlabeled", "--workers", "1"]
    result = CliRunner().invoke(alexprep, words)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture
def network(folder: Path) -> TrainedNetwork:
    return load_network(folder / "w.safetensors", recipe=str(folder / "recipe.toml"), shards=folder)


def test_any_number_of_processes_sees_each_image_once(
    folder: Path, start_script: Callable[..., BaseProcess], tmp_path: Path
) -> None:
    found = {}
    for world in (1, 3):  # 29 images are no multiple of 3 x 8
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(world)}
        processes = [
            start_script(
                SCRIPT,
                stderr=tmp_path / f"err{rank}",
                environment={**common, "RANK": str(rank), "ALEXKIT_TIMEOUT_S": "60"},
                folder=folder,
                out=tmp_path / f"{world}-{rank}.json",
            )
            for rank in range(world)
        ]
        for rank, process in enumerate(processes):
            process.join(120)
            assert process.exitcode == 0, (tmp_path / f"err{rank}").read_text()
        every = [json.loads((tmp_path / f"{world}-{rank}.json").read_text()) for rank in range(world)]
        assert all(one == every[0] for one in every)
        found[world] = every[0]
    assert found[1]["keys"] == found[3]["keys"]
    for name in ("probabilities", "features"):
        assert np.allclose(found[1][name], found[3][name], rtol=1e-3, atol=1e-6)
    assert found[1]["rows"][0]["center"]["top1_error"] == found[3]["rows"][0]["center"]["top1_error"]


def test_a_set_with_some_of_the_classes_is_scored_by_class_id(
    folder: Path, network: TrainedNetwork, draw_shards: DrawShards
) -> None:
    some = draw_shards(num_samples=12, size_px=32, num_classes=3, split="val")
    result = evaluate(network, some)
    assert len(result.classes) == 6 and result.rows[0].probabilities["center"].shape == (12, 6)
    assert result.labels_N.tolist() == [i % 3 for i in range(12)]
    assert np.isnan(result.per_class()["top1_error"][3:]).all()


def test_a_set_without_labels_is_predicted_but_not_scored(
    folder: Path, network: TrainedNetwork, tmp_path: Path
) -> None:
    import shutil
    import tarfile

    images = tmp_path / "images" / "test"
    images.mkdir(parents=True)
    for path in sorted((folder / "val").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                content = tar.extractfile(member)
                if member.name.endswith(".jpg") and content is not None:
                    with (images / member.name).open("wb") as file:
                        shutil.copyfileobj(content, file)
    shards = unlabeled_set(tmp_path / "images", tmp_path / "shards")
    result = evaluate(network, shards, split="test")
    assert result.num_labeled == 0 and result.metrics()["rows"][0].keys() == {"name", "checkpoint", "precision"}
    table = result.predictions()
    assert set(table["label"]) == {""} and len(table["key"]) == 29
    write_report(tmp_path / "report", result, [network], ShardSet.open(shards / "test"))
    assert "This set has no labels" in (tmp_path / "report" / "index.html").read_text()
    with pytest.raises(
        InputError, match=r"searching weights needs at least two images with labels, .*; omit --search-weights"
    ):
        Evaluation([network, network], shards, split="test", weights="search")
    with pytest.raises(ValueError, match="has no labels, so there is nothing to append"):
        append_timm_rows(tmp_path / "timm.csv", result, [network])


def test_probabilities_that_no_disk_holds_are_refused_before_any_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load_network(folder / "w.safetensors", recipe=str(folder / "recipe.toml"), shards=folder)
    monkeypatch.setattr(evaluate_module, "IN_MEMORY_BYTES", 0)
    needed = 29 * 6 * 4 * 3  # two networks and their mean by one view
    for free, fits in ((needed, True), (needed - 1, False)):
        monkeypatch.setattr(evaluate_module, "free_bytes", lambda folder, free=free: free)
        if fits:
            Evaluation([network, network], folder, views=["center"]).close()
        else:
            with pytest.raises(
                InputError, match=r"29 images x 6 classes, 3 times .*; set TMPDIR to a folder on a larger"
            ):
                Evaluation([network, network], folder, views=["center"])


def test_a_chosen_precision_replaces_that_of_the_recipe(folder: Path, tmp_path: Path) -> None:
    """On a processor with matrix units for bfloat16, `auto` is not float32; numbers must be comparable all the same."""
    command = [
        "--shards",
        str(folder),
        str(folder / "w.safetensors"),
        "--recipe",
        str(folder / "recipe.toml"),
        "--json",
    ]
    losses = {}
    for words, name in (([], "float32"), (["--precision", "bf16"], "bfloat16")):
        result = CliRunner().invoke(alexeval, [*command, *words])
        assert result.exit_code == 0, result.output
        row = json.loads(result.stdout)["rows"][0]
        assert row["precision"] == name
        losses[name] = row["center"]["loss"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02) and len(set(losses.values())) == 2


def test_page_and_table_say_whose_numbers_they_show_and_by_which_labels(
    folder: Path, network: TrainedNetwork, tmp_path: Path
) -> None:
    (tmp_path / "l.csv").write_text("key,labels\nsample-0000,0\nsample-0001,2 3\n")
    result = evaluate([network, network], folder, labels=tmp_path / "l.csv")
    assert table(result)[0].startswith("2 images of ") and ", labels of l.csv, errors in %" in table(result)[0]
    write_report(tmp_path / "report", result, [network, network], ShardSet.open(folder / "val"))
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Everything below refers to all together, center crop." in page
    assert [row.get("precision") for row in result.metrics()["rows"]] == ["float32", "float32", None]
    assert page.count("computed in float32") == 2
    assert "<dd>l.csv; confused pairs, labels to check and classes use the set&#39;s own</dd>" in page


def test_a_run_folder_that_cannot_be_written_has_features_and_codes_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network = load_network(folder / "w.safetensors", recipe=str(folder / "recipe.toml"), shards=folder)
    expected = stored_features(network, ShardSet.open(folder / "val"))
    network.origin = replace(network.origin, path=tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    found = stored_features(network, ShardSet.open(folder / "val"))
    assert np.array_equal(found, expected)
    trained_codes(network, ShardSet.open(folder / "val"), found, CodeOptions(bits=8, epochs=1))
    assert not list(tmp_path.iterdir()) and caplog.text.count("no permission to write") == 2


def test_five_classes_or_fewer_have_no_top5(draw_shards: DrawShards, tmp_path: Path) -> None:
    for classes, has in ((5, False), (6, True)):
        save_file(
            {
                name: x.contiguous()
                for name, x in Network(wiring(Switches(kind="cifar10-19")), classes).state_dict().items()
            },
            tmp_path / f"{classes}.safetensors",
        )
        train = draw_shards(num_samples=24, size_px=32, num_classes=classes)
        result = evaluate(load_network(tmp_path / f"{classes}.safetensors", recipe="cifar10-19", shards=train), train)
        assert result.has_top5 is has and ("top5_error" in result.metrics()["rows"][0]["center"]) is has


def test_what_does_not_fit_is_refused_in_a_line(folder: Path, network: TrainedNetwork, draw_shards: DrawShards) -> None:
    one = draw_shards(num_samples=4, size_px=32, num_classes=1)
    with pytest.raises(ValueError, match="has only one class"):
        evaluate(network, one)
    with pytest.raises(
        ValueError, match=r"this run was trained on another dataset \(6 classes: class0, class1, class2, …\)"
    ):
        evaluate(network, draw_shards(num_samples=16, size_px=32, num_classes=8))
    with pytest.raises(ValueError, match="need a crop smaller than the image"):
        evaluate(network, folder, views=["ten"])
    without_data = load_network(folder / "w.safetensors", recipe=str(folder / "recipe.toml"))
    with pytest.raises(ValueError, match="pass a folder with train/, or that set, as --shards"):
        evaluate(without_data, folder / "val")
    with pytest.raises(ValueError, match=r"conv1\.weight is of shape"):
        load_network(folder / "w.safetensors", recipe="cifar10-13", shards=folder)
    for name in ("model.pth", "model.bin"):
        (folder / name).write_bytes(b"x")
        with pytest.raises(ValueError, match="not a supported weights file"):
            load_network(folder / name)


def test_a_prepared_image_is_what_the_loader_gives(folder: Path, network: TrainedNetwork) -> None:
    from alexkit.pipeline import CenterCrop, Loader

    with Loader(folder / "val", batch_size=4, augment=CenterCrop(crop=32, mean="none"), dtype=torch.uint8) as pixels:
        raw = next(iter(pixels)).images.permute(0, 2, 3, 1).numpy()
    augment = CenterCrop(crop=32, mean_from=folder / "train")
    with Loader(folder / "val", batch_size=4, augment=augment) as loader:
        expected = next(iter(loader)).images
    found = network.less_mean([np.ascontiguousarray(image) for image in raw])
    assert torch.allclose(found, expected, atol=2e-4)


def test_a_pillow_image_is_prepared_like_its_file(network: TrainedNetwork, tmp_path: Path) -> None:
    pixels = draw_image(3, 1, 48)[:, :40]
    plain, turned, fading = Image.fromarray(pixels), Image.Exif(), Image.fromarray(pixels).convert("RGBA")
    turned[0x0112] = 6
    fading.putalpha(Image.linear_gradient("L").resize(fading.size))
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 256 + 77)
    plain.save(tmp_path / "exif.png", exif=turned)
    plain.save(tmp_path / "exif.tif", exif=turned)
    plain.convert("CMYK").save(tmp_path / "cmyk.tif")
    plain.quantize(16).save(tmp_path / "palette.gif", save_all=True, append_images=[plain.rotate(90)])
    fading.save(tmp_path / "fading.png")
    fading.convert("LA").save(tmp_path / "gray-fading.png")
    deep.save(tmp_path / "deep.png")
    for path in sorted(tmp_path.iterdir()):
        with Image.open(path) as image:
            assert np.array_equal(network.prepare(image), network.prepare(path)), path.name
    deep.save(tmp_path / "deep.tif")
    with Image.open(tmp_path / "deep.tif") as image, pytest.raises(InputError, match="pass its path or bytes instead"):
        network.prepare(image)


def test_torchvisions_alexnet_is_fed_as_its_transforms_do(tmp_path: Path) -> None:
    from torch import nn

    features = nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU()),
        *(
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
        ),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    )
    classifier = nn.Sequential(
        *(nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()),
        nn.Linear(4096, 6),
    )
    both = nn.ModuleDict({"features": features, "classifier": classifier}).eval()
    save_file({name: x.contiguous() for name, x in both.state_dict().items()}, tmp_path / "alexnet.safetensors")
    network = load_network(tmp_path / "alexnet.safetensors")
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    mean, std = (torch.tensor(x)[:, None, None] for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = (torch.from_numpy(image[16:240, 16:240]).permute(2, 0, 1).float() / 255 - mean) / std
    with torch.no_grad():
        expected = classifier(features(x[None]).flatten(1))
        assert torch.allclose(network(network.preprocess([image])), expected, rtol=1e-3, atol=1e-5)
