"""`alexeval --predictions FILE.txt`: what ILSVRC's server is sent has the devkit's numbers, not those of our table."""

import csv
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import save_file

from alexkit.cli.alexeval import alexeval
from alexkit.cli.alexprep import alexprep
from alexkit.model import Network, Switches, wiring
from alexkit.model.evaluation.report.tables import submission_numbers
from alexkit.prep.format.manifest import ClassEntry

from ....conftest import draw_image

scipy_io = pytest.importorskip("scipy.io", reason="scipy writes the devkit's MATLAB file")

# As in the real devkit, numbers are not in the order of WordNet ids.
NUMBERS = {"n01440764": 5, "n01443537": 6, "n01484850": 1, "n01491361": 3, "n01494475": 2, "n01496331": 4}
RECIPE = '[network]\nkind = "cifar10-19"\n[data]\ncrop = 32\n[training]\nprecision = "fp32"\n'


def write_devkit(path: Path, numbers: dict[str, int]) -> None:
    kinds = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object)]
    table = np.array([(number, id, f"name of {id}") for id, number in numbers.items()], kinds).reshape(-1, 1)
    meta = io.BytesIO()
    scipy_io.savemat(meta, {"synsets": table})
    files = {"meta.mat": meta.getvalue(), "ILSVRC2012_validation_ground_truth.txt": b"1\n"}
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"ILSVRC2012_devkit_t12/data/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, devkits, and shards of 12 photographs in six of ILSVRC's classes."""
    folder = tmp_path_factory.mktemp("submission")
    network = Network(wiring(Switches(kind="cifar10-19")), len(NUMBERS), seed=3)
    save_file({name: 4 * x.detach().contiguous() for name, x in network.state_dict().items()}, folder / "w.safetensors")
    (folder / "recipe.toml").write_text(RECIPE)
    for number in range(12):
        for split in ("train", "val"):
            id = sorted(NUMBERS)[number % 6]
            path = folder / f"images/{split}/{id}/ILSVRC2012_{split}_{12 - number:08d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw_image(number, number % 6, 40)).save(path)
    words = ["shard", folder / "images", "--out", folder / "shards", "--size", 32, "--workers", 1]
    result = CliRunner().invoke(alexprep, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    write_devkit(folder / "ILSVRC2012_devkit_t12.tar.gz", NUMBERS)
    write_devkit(folder / "other.tar.gz", dict(list(NUMBERS.items())[:4]))
    with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz") as tar:
        tar.extractall(folder / "unpacked", filter="data")
    return folder


def submit(folder: Path, file: Path, *words: object) -> Result:
    run = [folder / "w.safetensors", "--recipe", folder / "recipe.toml", "--shards", folder / "shards"]
    return CliRunner().invoke(
        alexeval, [str(word) for word in [*run, "--views", "center", "--predictions", file, *words]]
    )


def test_a_submission_has_the_devkits_numbers_in_the_order_of_file_names(folder: Path, tmp_path: Path) -> None:
    assert submit(folder, tmp_path / "p.csv").exit_code == 0
    with (tmp_path / "p.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["key"].rpartition("_")[2])
    expected = [[NUMBERS[row[f"class_{place}"]] for place in range(1, 6)] for row in rows]
    result = submit(folder, tmp_path / "p.txt", "--devkit", folder / "ILSVRC2012_devkit_t12.tar.gz")
    assert result.exit_code == 0, result.output
    lines = (tmp_path / "p.txt").read_text().splitlines()
    assert [[int(number) for number in line.split()] for line in lines] == expected


@pytest.mark.parametrize("place", ["ILSVRC2012_devkit_t12.tar.gz", "unpacked/ILSVRC2012_devkit_t12", "unpacked", "."])
def test_a_devkit_is_found_as_an_archive_unpacked_and_in_its_folder(folder: Path, place: str) -> None:
    classes = [ClassEntry(index=i, id=id, name=id) for i, id in enumerate(sorted(NUMBERS))]
    assert submission_numbers(classes, folder / place).tolist() == [NUMBERS[entry.id] for entry in classes]


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("p.txt", [], "ILSVRC's server uses the class numbers of its devkit"),
        ("p.txt", ["--devkit", "other.tar.gz"], "other.tar.gz: lacks the class 'n01494475' of this set"),
        ("p.txt", ["--devkit", "images"], "images: no devkit; pass an archive"),
        ("p.txt", ["--devkit", "w.safetensors"], "not a devkit archive"),
        ("p.csv", ["--devkit", "."], "--devkit is for --predictions FILE.txt"),
    ],
)
def test_what_the_server_would_misread_is_refused_before_any_work(
    folder: Path, tmp_path: Path, name: str, words: list[str], expected: str
) -> None:
    words = [word if word.startswith("--") else str(folder / word) for word in words]
    result = submit(folder, tmp_path / name, *words)
    assert result.exit_code in (1, 2) and expected in " ".join(result.output.split()), result.output
    assert not list(tmp_path.iterdir())
