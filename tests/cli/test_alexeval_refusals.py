"""What does not fit is one line from every command of alexeval: empty sets, no labels, other classes, NaN weights."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import save_file

from alexkit.cli.alexeval import alexeval
from alexkit.cli.alexprep import alexprep
from alexkit.cli.eval.options import require_file, require_folder
from alexkit.errors import InputError
from alexkit.extras import NEEDED
from alexkit.model import Network, Switches, wiring
from alexkit.pipeline import CenterCrop, Loader
from alexkit.prep import PixelSums, ShardSet
from alexkit.prep.format.manifest import complete_set

from ..conftest import draw_image

RECIPE = '[network]\nkind = "cifar10-19"\n[data]\ncrop = 32\n[training]\nprecision = "fp32"\n'
# What each command needs beside the weights file; {} stands for shards.
COMMANDS = {
    "evaluate": "{} --shards {shards}",
    "report": "{} --shards {shards} --report report --neighbors",
    "predictions": "{} --shards {shards} --predictions p.csv",
    "predict": "predict {} picture.png --shards {shards}",
    "neighbors": "neighbors {} picture.png --shards {shards} --split val",
    "codes": "codes {} --shards {shards} --bits 8 --epochs 1 --neighbors 2",
    "export": "export {} --shards {shards} --onnx net.onnx",
    "filters": "filters {}",
}
READ_VAL = ("evaluate", "report", "predictions", "neighbors", "codes")


@pytest.fixture(scope="module")
def folder(draw_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, whole and with a NaN, a picture, and folders of shards that all train on the same set."""
    folder = tmp_path_factory.mktemp("refusals")
    network = Network(wiring(Switches(kind="cifar10-19")), 6, seed=5)
    weights = {name: 3 * x.detach().contiguous() for name, x in network.state_dict().items()}
    save_file(weights, folder / "w.safetensors")
    weights["conv2.bias"][3] = float("nan")
    save_file(weights, folder / "nan.safetensors")
    (folder / "recipe.toml").write_text(RECIPE)
    Image.fromarray(draw_image(0, 1, 40)).save(folder / "picture.png")
    sets = {
        "good": draw_shards(num_samples=12, size_px=32, num_classes=6, split="val"),
        "one": draw_shards(num_samples=5, size_px=32, num_classes=1, split="val"),
        "others": draw_shards(num_samples=16, size_px=32, num_classes=8, split="val"),
        "empty": empty_set(draw_shards(num_samples=12, size_px=32, num_classes=6, split="val"), folder / "no-images"),
        "unlabeled": unlabeled_set(folder),
    }
    for name, val in sets.items():
        (folder / name).mkdir()
        (folder / name / "train").symlink_to(draw_shards(num_samples=24, size_px=32, num_classes=6))
        (folder / name / "val").symlink_to(val)
    return folder


def empty_set(source: Path, out: Path) -> Path:
    """A complete set of no images, as only a hand could make it: no command of ours writes one."""
    out.mkdir()
    manifest = ShardSet.open(source).manifest
    complete_set(out, replace(manifest, shards=()), PixelSums.zero(32), ())
    return out


def unlabeled_set(folder: Path) -> Path:
    (folder / "flat" / "val").mkdir(parents=True)
    for number in range(7):
        Image.fromarray(draw_image(number, number, 40)).save(folder / "flat" / "val" / f"{number}.png")
    words = ["shard", folder / "flat", "--out", folder / "flat-shards", "--size", 32, "--unlabeled", "--workers", 1]
    result = CliRunner().invoke(alexprep, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    (manifest,) = (folder / "flat-shards").glob("*/manifest.json")
    return manifest.parent


@pytest.fixture
def call(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`call(command, shards, weights, *words)` in an empty folder with a picture."""
    shutil.copy(folder / "picture.png", tmp_path)
    monkeypatch.chdir(tmp_path)

    def run(command: str, shards: str, weights: str = "w", *words: str) -> Result:
        line = COMMANDS.get(command, command).format(folder / f"{weights}.safetensors", shards=folder / shards)
        return CliRunner().invoke(alexeval, [*line.split(), *words, "--recipe", str(folder / "recipe.toml")])

    return run


def refused(result: Result, words: str) -> None:
    """One line that holds these words, and no traceback."""
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.exception
    lines = [line for line in result.output.splitlines() if "features: " not in line]
    assert len(lines) == 1 and words in lines[0], result.output


@pytest.mark.parametrize("command", READ_VAL)
def test_a_set_without_images_is_named(command: str, call: Callable[..., Result]) -> None:
    refused(call(command, "empty"), "val: this shard set holds no images")


def test_a_loader_names_a_set_without_images(folder: Path) -> None:
    for source in (folder / "empty" / "val", [folder / "good" / "val", folder / "empty" / "val"]):
        with pytest.raises(ValueError, match="this shard set holds no images"):
            Loader(source, batch_size=2, augment=CenterCrop(crop=32, mean="none"))


@pytest.mark.parametrize("command", COMMANDS)
def test_weights_that_are_not_finite_are_named(command: str, call: Callable[..., Result]) -> None:
    refused(call(command, "good", "nan"), "nan.safetensors: conv2.bias contains numbers that are not finite")


@pytest.mark.parametrize("command", ["evaluate", "report", "predictions"])
@pytest.mark.parametrize(
    ("shards", "words"),
    [("one", "has only one class"), ("others", "this run was trained on another dataset")],
)
def test_a_set_of_one_class_or_of_others_is_not_scored(
    command: str, shards: str, words: str, call: Callable[..., Result]
) -> None:
    refused(call(command, shards), words)


def test_images_without_labels_are_predicted_but_not_scored(call: Callable[..., Result], tmp_path: Path) -> None:
    refused(call("evaluate", "unlabeled"), "val has no labels to compute errors from; use --predictions FILE")
    for command in ("report", "predictions", "neighbors", "codes"):
        result = call(command, "unlabeled")
        assert result.exit_code == 0, result.output
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 8
    assert "This set has no labels" in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ("{} --shards {shards} --picture p.png", "matplotlib"),
        ("predict {} picture.png --shards {shards} --picture p.png", "matplotlib"),
        ("neighbors {} picture.png --shards {shards} --split val --picture p.png", "matplotlib"),
        ("{} --shards {shards} --predictions p.parquet", "pyarrow"),
        ("{} --shards {shards} --report report", "jinja2"),
        ("export {} --shards {shards} --torch-export net.pt2 --timm timm", "timm"),
        ("export {} --shards {shards} --torch-export net.pt2 --web page", "onnx"),
        ("export {} --shards {shards} --torch-export net.pt2 --onnx net.onnx", "onnxruntime"),
    ],
)
def test_a_missing_library_is_named_before_the_work(
    words: str, missing: str, call: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alexkit.extras.find_spec", lambda name: None if name == missing else name)
    result = call(words, "good")
    refused(result, NEEDED[missing])
    assert "evaluate:" not in result.stderr and not list(tmp_path.glob("net*"))


@pytest.mark.parametrize(
    ("shards", "words", "expected"),
    [
        ("good", "--report picture.png", "--report picture.png: is a file; name a folder"),
        ("good", "--results other.csv", "--results other.csv: its columns are not those of timm's results files"),
        ("good", "--results picture.png", "--results picture.png: not a text file"),
        ("good", "--report report --examples nothing", "this set has no image with the key 'nothing'"),
        ("good", "--report report --predictions read-only/p.csv", "no permission to write to read-only"),
        ("unlabeled", "--report report --results timm.csv", "has no labels, so there is nothing to append"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    shards: str,
    words: str,
    expected: str,
    call: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "read-only").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "read-only")  # root may write anywhere
    refused(call("evaluate", shards, "w", *words.split()), expected)
    assert not (tmp_path / "report").exists()


def test_permission_is_asked_for_what_is_written_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container, whose mounted folders can be written, but not the folder that holds them."""
    mounted, device = tmp_path / "mounted", tmp_path / "device"
    mounted.mkdir()
    os.mkfifo(device)  # like /dev/stdout, it is written to and not replaced
    closed = [tmp_path]
    monkeypatch.setattr(os, "access", lambda path, mode: path not in closed)  # root may write anywhere
    require_folder("--report", mounted)
    require_file("--picture", mounted / "p.png")
    require_file("--picture", device)
    closed += [mounted, device]
    for check, path in (
        (require_folder, mounted),
        (require_folder, tmp_path / "new"),
        (require_file, tmp_path / "new.png"),
        (require_file, device),
    ):
        with pytest.raises(InputError, match="no permission to write to"):
            check("--out", path)


def test_an_export_replaces_no_file_but_those_of_an_export(call: Callable[..., Result], tmp_path: Path) -> None:
    for words, name in (([], "net.json"), (["--torch-export", "p.pt2"], "p.json"), (["--timm", "."], "config.json")):
        (tmp_path / name).write_text('{"recipe": 1}')
        refused(
            call("export", "good", "w", *words), f"{name}: would be replaced, but 'alexeval export' did not write it"
        )
        assert (tmp_path / name).read_text() == '{"recipe": 1}'
        (tmp_path / name).unlink()
    for _ in range(2):
        assert call("export", "good").exit_code == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_the_same_commands_run_where_everything_fits(command: str, call: Callable[..., Result]) -> None:
    result = call(command, "good")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", ["predict", "neighbors"])
def test_an_image_from_standard_input_is_drawn_too(command: str, folder: Path, tmp_path: Path) -> None:
    words = [command, folder / "w.safetensors", "-", "--recipe", folder / "recipe.toml", "--shards", folder / "good"]
    words += ["--picture", tmp_path / "drawn.png"]
    content = (folder / "picture.png").read_bytes()
    result = CliRunner().invoke(alexeval, [str(word) for word in words], input=content)
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "drawn.png") as drawn:
        assert drawn.format == "PNG"


@pytest.mark.parametrize("command", ["predict", "neighbors"])
def test_where_no_image_can_be_read_the_last_line_says_so(
    command: str, call: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "picture.png").write_bytes(b"no image")
    reason, last = call(command, "good").stderr.splitlines()[-2:]
    assert "picture.png: " in reason and last.endswith("no image could be read; see the reason above")


def test_an_unknown_option_is_refused() -> None:
    assert CliRunner().invoke(alexeval, ["--shard", "x"]).exit_code == 2
