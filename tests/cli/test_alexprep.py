"""What a person sees of alexprep: tables on success, one line and an exit code on a mistake."""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COMMAND = str(Path(sys.executable).with_name("alexprep"))
SHARD = ("--size", "32", "--images-per-shard", "4", "--workers", "1")


def alexprep(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two splits of two classes, three images each."""
    folder = tmp_path_factory.mktemp("source")
    for number, name in enumerate(f"{s}/{c}/{i}.jpg" for s in ("train", "val") for c in ("cat", "dog") for i in "012"):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 40, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file.getvalue())
    return folder


@pytest.fixture(scope="module")
def sharded(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where `alexprep shard` ran with its default output."""
    folder = tmp_path_factory.mktemp("work")
    result = alexprep("shard", source, *SHARD, cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "class folders in" in result.stderr and "6/6 images" in result.stderr
    assert [line.split()[:4] for line in result.stdout.splitlines()[1:]] == [
        ["train", "6", "2", "2"],
        ["val", "6", "2", "2"],
    ]
    return folder


def test_shard_writes_both_splits_and_a_second_run_finds_them(source: Path, sharded: Path) -> None:
    assert (sharded / "shards/train/manifest.json").exists() and (sharded / "shards/val/manifest.json").exists()
    again = alexprep("shard", source, *SHARD, cwd=sharded)
    assert again.returncode == 0 and again.stdout.count("(was complete)") == 2


def test_shard_takes_a_list_of_images_and_names_a_wrong_line(source: Path, tmp_path: Path) -> None:
    rows = [f"{path},{path.parent.name}\n" for path in sorted((source / "train").rglob("*.jpg"))]
    (tmp_path / "train.csv").write_text("path,label\n" + "".join(rows))
    result = alexprep("shard", "train.csv", *SHARD, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "a list of images in train.csv" in result.stderr and "6/6 images" in result.stderr
    (tmp_path / "train.csv").write_text("path,label\nnowhere.jpg,cat\n")
    wrong = alexprep("shard", "train.csv", *SHARD, cwd=tmp_path)
    assert wrong.returncode == 1 and "train.csv, line 2: nowhere.jpg: No such file" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_json_is_all_of_stdout_and_says_what_the_table_says(source: Path, tmp_path: Path) -> None:
    photograph = (source / "train/cat/0.jpg").read_bytes()
    shutil.copytree(source, tmp_path / "source")
    (tmp_path / "source/train/cat/bad.jpg").write_bytes(b"no image")
    (tmp_path / "source/train/dog/cut.jpg").write_bytes(photograph[: len(photograph) // 2])
    strict = alexprep("shard", "source", *SHARD, "--json", "--out", "strict", cwd=tmp_path)
    lenient = alexprep("shard", "source", *SHARD, "--json", "--out", "lenient", "--lenient", cwd=tmp_path)
    (train, val), (patched, _) = (json.loads(result.stdout)["splits"] for result in (strict, lenient))
    assert train["bytes"] == sum(path.stat().st_size for path in (tmp_path / "strict/train").glob("*.tar"))
    del train["bytes"]
    reasons = train.pop("reasons")
    assert [(one["count"], one["source"]) for one in reasons] == [(1, "cat/bad.jpg"), (1, "dog/cut.jpg")]
    assert "note: train: 2 bad inputs are listed in strict/train/quarantine.jsonl" in strict.stderr
    assert f"note: train: 1 x {reasons[0]['reason']}, e.g. cat/bad.jpg" in strict.stderr
    assert train == {
        "split": "train",
        "images": 6,
        "classes": 2,
        "shards": 2,
        "size_px": 32,
        "format": "jpeg",
        "bad": 2,
        "patched": 0,
        "enlarged": 0,
        "warnings": {},
        "folder": "strict/train",
        "was_complete": False,
    }
    assert val["split"] == "val" and val["bad"] == 0
    assert (patched["images"], patched["bad"], patched["patched"]) == (7, 1, 1)
    assert ["train", "7", "2", "2"] in [line.split()[:4] for line in lenient.stderr.splitlines()]
    assert "train: 8/8 images" in strict.stderr and ", 2 bad" in strict.stderr


def test_pca_prints_a_table_and_writes_beside_the_shards(sharded: Path) -> None:
    result = alexprep("pca", cwd=sharded)
    assert result.returncode == 0, result.stderr
    for words in ("6 images, 6144 pixels", "eigenvalue", "std. dev.", "eigenvector", "(0-1)", "before encoding"):
        assert words in result.stdout
    assert all((sharded / "shards/train" / name).exists() for name in ("pca.json", "pca.png", "mean.png"))
    assert alexprep("pca", "shards/val", cwd=sharded).returncode == 0


def assert_one_line(result: subprocess.CompletedProcess[str], words: str) -> None:
    assert result.returncode != 0 and not result.stdout
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ") and words in last, result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("shard", "nowhere"), "nowhere: no such folder"),
        (("shard", "{source}", "--size", "3"), "'--size': 3 is not in the range 8<=x<=4096"),
        (("shard", "{source}", "--format", "tga"), "is not one of 'jpeg', 'png', 'raw'"),
        (("shard", "{source}", "--filter", "sinc"), "is not one of 'bilinear'"),
        (("shard", "{source}", "--quality", "101"), "'--quality': 101 is not in the range"),
        (
            ("shard", "{source}", "--quality", "90", "--format", "png"),
            "--quality is for JPEG; leave it out",
        ),
        (("shard", "{source}", "--seed", "-1"), "'--seed': -1 is not in the range"),
        (("shard", "{source}", "--images-per-shard", "0"), "'--images-per-shard': 0 is not in the range"),
        (("shard", "{source}", "--workers", "0"), "'--workers': 0 is not in the range x>=1"),
        (("shard", "{source}", "--max-bad", "-1"), "'--max-bad': -1 is not in the range"),
        (("shard", "{source}", "--sise", "32"), "No such option"),
        (("shard",), "Missing argument"),
        (("pca", "{sharded}", "--workers", "0"), "'--workers': 0 is not in the range"),
        (("verify", "{sharded}", "--workers", "0"), "'--workers': 0 is not in the range"),
        (("pca", "nowhere"), "nowhere: no such folder"),
        (("pca", "{source}"), "manifest.json"),
        (("sharp",), "No such command"),
        (("verify", "{source}"), "no manifest.json here"),
        (("inspect", "nowhere"), "nowhere: no such folder"),
        (("repair", "nowhere", "{source}"), "nowhere: no such folder"),
        (("verify", "{source}", "--quick", "--decode"), "use one of them"),
        (("verify", "nowhere"), "nowhere: no such folder"),
        (("shard", "{source}", "--out", "{sharded}"), "is itself a shard set; use its parent folder"),
        (("shard", "{source}", "--format", "raw", "--fit", "shorter"), "choose --fit crop or --format png"),
        (("demo-images", "new", "--train", "33"), "--train 33: expected a multiple of 10"),
        (("adopt", "nowhere", "new"), "nowhere: no such folder; pass the folder that contains the tars"),
        (("adopt", "{sharded}/..", "new"), "pass the folder that contains the tars, e.g. "),
        (
            ("adopt", "{sharded}", "new", "--split", "val", "--label-key", "no"),
            "name them with --image-column and --label-key; 'alexprep",
        ),
        (("push", "{sharded}", "me/a--b"), "me/a--b: not a valid repository name"),
    ],
)
def test_a_mistake_is_one_line(
    source: Path, sharded: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    filled = [argument.format(source=source, sharded=sharded / "shards/val") for argument in arguments]
    assert_one_line(alexprep(*filled, cwd=tmp_path), words)
    assert not list(tmp_path.iterdir())


def test_a_damaged_source_is_one_line(source: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(source, damaged)
    for path in (damaged / "train/dog").iterdir():
        path.unlink()
    assert_one_line(alexprep("shard", damaged, cwd=tmp_path), "train/dog: class without images")
    (damaged / "train/dog").rmdir()
    assert_one_line(
        alexprep("shard", damaged, cwd=tmp_path), "train and val have different classes (1 only in val: dog)"
    )


def test_a_damaged_manifest_is_one_line_that_says_how_to_go_on(sharded: Path, source: Path, tmp_path: Path) -> None:
    shutil.copytree(sharded / "shards", tmp_path / "shards")
    manifest = tmp_path / "shards/train/manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:1000])
    words = "restore the file, or remove shards/train and shard the images again"
    (tmp_path / "shards/val/val-00001.idx").unlink()
    checked = alexprep("verify", "shards", cwd=tmp_path)  # the other sets all the same
    assert checked.returncode == 1 and "shards/train/manifest.json: not JSON" in checked.stdout, checked.stderr
    assert words in checked.stdout and "shards/val/val-00001.idx: missing" in checked.stdout
    findings = json.loads(alexprep("verify", "shards", "--json", cwd=tmp_path).stdout)
    assert [[one["file"] for one in found] for found in findings.values()] == [["manifest.json"], ["val-00001.idx"]]
    shutil.copy(sharded / "shards/val/val-00001.idx", tmp_path / "shards/val")
    assert_one_line(alexprep("shard", source, *SHARD, cwd=tmp_path), words)
    assert not (tmp_path / "shards/.unfinished").exists()
    shutil.rmtree(tmp_path / "shards/train")
    assert alexprep("shard", source, *SHARD, cwd=tmp_path).returncode == 0
    assert alexprep("verify", "shards", cwd=tmp_path).returncode == 0


def test_a_damaged_shard_is_one_line(sharded: Path, tmp_path: Path) -> None:
    shutil.copytree(sharded / "shards/train", tmp_path / "set")
    shard = tmp_path / "set/train-00001.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    assert_one_line(alexprep("pca", "set", cwd=tmp_path), "train-00001.tar")


def test_verify_names_the_damage_and_repair_mends_it(source: Path, sharded: Path, tmp_path: Path) -> None:
    shutil.copytree(sharded / "shards", tmp_path / "shards")
    good = alexprep("verify", "shards", cwd=tmp_path)
    assert good.returncode == 0 and good.stdout == "all good\n"
    shard = tmp_path / "shards/val/val-00000.tar"
    content = bytearray(shard.read_bytes())
    content[513] ^= 255
    shard.write_bytes(content)
    bad = alexprep("verify", "shards", "--decode", cwd=tmp_path)
    assert bad.returncode == 1 and "shards/val/val-00000.tar: sample '0000" in bad.stdout and "at byte" in bad.stdout
    findings = json.loads(alexprep("verify", "shards", "--json", cwd=tmp_path).stdout)
    assert findings["shards/train"] == [] and findings["shards/val"][0]["file"] == "val-00000.tar"
    assert alexprep("verify", "shards/val", "--quick", cwd=tmp_path).returncode == 0
    forgotten = alexprep("repair", "shards", cwd=tmp_path)  # once, ./shards was compared with itself as SOURCE
    assert forgotten.returncode == 2 and "shards holds shard sets, so SOURCE seems to be missing" in forgotten.stderr
    mended = alexprep("repair", "shards", source, cwd=tmp_path)
    assert mended.returncode == 0 and "shards/val: val-00000.tar made again" in mended.stdout, mended.stderr
    assert alexprep("verify", "shards", cwd=tmp_path).returncode == 0


def test_help_is_quick_and_says_what_each_command_does(tmp_path: Path) -> None:
    result = alexprep("--help", cwd=tmp_path)
    assert result.returncode == 0
    for command in ("shard", "pca", "inspect", "verify", "repair", "demo-images"):
        assert command in result.stdout
        assert alexprep(command, "--help", cwd=tmp_path).returncode == 0


def test_adopt_makes_tars_from_elsewhere_trainable_and_says_what_is_wrong(sharded: Path, tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()
    for tar in (sharded / "shards/train").glob("*.tar"):
        shutil.copy(tar, tmp_path / "tars")
    result = alexprep("adopt", "tars", "their set", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "their set is a shard set; to see it: alexprep inspect 'their set'" in result.stdout
    assert "adopting: " in result.stderr and re.search(r"^train: \d+ images, \d+ classes: ", result.stderr, re.M)
    assert alexprep("verify", "their set", "--decode", cwd=tmp_path).returncode == 0
    again = alexprep("adopt", "tars", "tars", cwd=tmp_path)
    assert again.returncode == 1 and "not empty" in again.stderr and "Traceback" not in again.stderr
