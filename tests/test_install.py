"""Laws of an installation: wheel and sdist hold everything, type checkers find it, extras bring what they promise."""

import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from .test_package import ROOT, STAGES

NO_NETWORK = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def run(*command: object, cwd: Path, ok: bool = True, **environment: str) -> str:
    """Run a command without this checkout's paths in its environment; what it printed, stderr too."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, env={**ENVIRONMENT, **environment}, stdout=-1, stderr=subprocess.STDOUT, text=True
    )
    assert (done.returncode == 0) == ok, f"{' '.join(words)}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, so that builds leave nothing in it, and its old builds hide nothing that is left out."""
    tree = tmp_path_factory.mktemp("package") / "tree"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "_build")
    tree.mkdir()
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith(".git"):
            shutil.copy(path, tree)
    for name in (*STAGES, "src", "tests", "docs", "benchmarks", "examples", ".ci", ".github"):
        if (ROOT / name).is_dir():  # in an sdist the four stages are in src/alexkit alone
            shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=ignored)
    return tree


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Path:
    run(sys.executable, "-m", "pip", "wheel", *NO_NETWORK, "-w", tree.parent / "wheel", "./tree", cwd=tree.parent)
    (wheel,) = (tree.parent / "wheel").glob("*.whl")
    return wheel


def test_the_wheel_holds_every_module_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = ROOT / "src/alexkit"
    files = [path for path in source.iterdir() if path.is_file()]
    files += [path for stage in STAGES for path in (source / stage).rglob("*") if path.is_file()]
    assert packed == {f"alexkit/{p.relative_to(source)}" for p in files if "__pycache__" not in p.parts}


@pytest.fixture(scope="module")
def sdist(tree: Path) -> Path:
    """The unpacked sdist, built as a release is."""
    build = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "-o", "../sdist", "."]
    printed = run(*build, cwd=tree, ALEXKIT_REPOSITORY="https://github.com/someone/alexkit")
    assert "warning" not in printed.lower()
    (archive,) = (tree.parent / "sdist").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(tree.parent / "unpacked", filter="data")
    (folder,) = (tree.parent / "unpacked").iterdir()
    return folder


@pytest.mark.slow
def test_a_wheel_made_of_the_sdist_keeps_the_urls_of_the_release(sdist: Path) -> None:
    run(sys.executable, "-m", "pip", "wheel", *NO_NETWORK, "-w", sdist.parent / "again", sdist, cwd=sdist.parent)
    (wheel,) = (sdist.parent / "again").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA")]
    assert "Project-URL: Source, https://github.com/someone/alexkit\n" in metadata
    assert "(https://github.com/someone/alexkit/blob/v" in metadata


@pytest.mark.slow
def test_the_sdist_passes_its_own_tests(sdist: Path) -> None:
    tests = ["tests/test_package.py", "tests/test_readme.py", "tests/test_words.py", "tests/prep/format", "tests/cli"]
    tests.append("tests/test_container.py")
    printed = run(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests),
        *("-k", "package or table or words or shard or terminal or whole or linked or container"),
        cwd=sdist,
        PYTHONPATH=str(sdist / "src"),
    )
    assert " passed" in printed and "failed" not in printed


def environment_with(tmp_path: Path, *options: object, cwd: Path) -> Path:
    """The Python of a new environment that holds alexkit alone, installed as `options` say."""
    folder = tmp_path / "environment"
    venv.create(folder, symlinks=True)
    # Not --prefix: with it pip first uninstalls the alexkit that these tests run from.
    (site,) = folder.glob("lib/python*/site-packages")
    run(sys.executable, "-m", "pip", "install", *NO_NETWORK, "--target", site, *options, cwd=cwd)
    return folder / "bin/python"


def install_or_skip(*pip: object, cwd: Path) -> None:
    """Run pip; the test is skipped where no package index can be reached."""
    try:
        run(*pip, cwd=cwd)
    except AssertionError as error:
        if "(from versions: none)" in str(error):
            pytest.skip("no package index can be reached")
        raise


RIGHT = """
from pathlib import Path

from alexkit.model import Recipe, load_recipe
from alexkit.pipeline import Loader, TrainAugment
from alexkit.prep import Manifest

recipe: Recipe = load_recipe("original")
samples: int = Manifest.read(Path("shards/train")).num_samples
loader = Loader("shards/train", batch_size=samples, augment=TrainAugment(jitter="paper"), seed=0)
"""
WRONG = RIGHT.replace("samples: int", "samples: str").replace('"paper"', '"papre"')


@pytest.mark.slow
@pytest.mark.parametrize("installed", ["editable", "wheel"])
def test_type_checkers_find_alexkit(tree: Path, wheel: Path, tmp_path: Path, installed: str) -> None:
    options: tuple[object, ...] = ("-e", tree) if installed == "editable" else (wheel,)
    python = environment_with(tmp_path, *options, cwd=tree.parent)
    user = tmp_path / "user"
    user.mkdir()
    (user / "right.py").write_text(RIGHT)
    (user / "wrong.py").write_text(WRONG)
    for name, right in (("right.py", True), ("wrong.py", False)):
        mypy = run(sys.executable, "-m", "mypy", "--strict", "--python-executable", python, name, cwd=user, ok=right)
        pyright = run(sys.executable, "-m", "pyright", "--pythonpath", python, name, cwd=user, ok=right)
        if not right:
            assert mypy.count("error:") == pyright.count("error:") == 3, mypy + pyright


@pytest.mark.slow
def test_preparation_works_with_nothing_but_the_base_and_the_rest_says_what_it_needs(
    wheel: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "environment", with_pip=True)
    python = tmp_path / "environment/bin/python"
    pip = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel]
    install_or_skip(*pip, cwd=tmp_path)

    def alexkit(line: str, ok: bool = True) -> str:
        return run(python, "-m", "alexkit", *line.split(), cwd=tmp_path, ok=ok)

    alexkit("prep demo-images images --train 20 --val 10")
    alexkit("prep shard images --size 64")
    assert "all good" in alexkit("prep verify shards")
    numbers = alexkit("prep pca shards")
    assert "eigenvalue" in numbers and "no pca.png: drawing pictures needs Matplotlib" in numbers
    refused = alexkit("prep inspect shards", ok=False)
    assert "pip install 'alexkit[report]'" in refused
    assert "images/s" not in refused, "said after a pass over all images"
    assert "training: pip install 'alexkit[train]'" in alexkit("train --shards shards", ok=False)
    assert "pip install 'alexkit[loader]'" in alexkit("eval --shards shards runs/original", ok=False)
    script = "from alexkit.pipeline import Loader"
    assert "ImportError: batches need PyTorch: pip install 'alexkit[loader]'" in run(
        python, "-c", script, cwd=tmp_path, ok=False
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the lowest versions have no wheels for this Python")
def test_the_lowest_versions_prepare_train_evaluate_and_export(wheel: Path, tmp_path: Path) -> None:
    """All but PyTorch, DALI and Ray, which are large: these are as in this environment. `make lowest` has all."""
    site = tmp_path / "site"
    lowest = runpy.run_path(str(ROOT / ".ci/lowest.py"))["lowest"]
    pins = [line for line in lowest("all") if not line.startswith(("torch", "ray"))]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", site]
    install_or_skip(*pip, *pins, cwd=tmp_path)
    run(*pip, *NO_NETWORK, wheel, cwd=tmp_path)

    def alexkit(line: str) -> str:
        return run(sys.executable, "-m", "alexkit", *line.split(), cwd=tmp_path, PYTHONPATH=str(site))

    versions = run(sys.executable, "-c", "import numpy; print(numpy.__version__)", cwd=tmp_path, PYTHONPATH=str(site))
    assert f"numpy=={versions}".startswith(next(pin for pin in pins if pin.startswith("numpy")))
    alexkit("prep demo-images images --train 60 --val 20")
    alexkit("prep shard images --size 32")
    assert "all good" in alexkit("prep verify shards")
    assert "eigenvalue" in alexkit("prep pca shards")
    alexkit("prep inspect shards")
    alexkit("train --shards shards --recipe cifar10-19 --name run --set training.epochs=1 --set training.batch_size=20")
    assert "20 images" in alexkit("eval --shards shards runs/run --report report")
    exported = alexkit("eval export runs/run --onnx net.onnx --torch-export net.pt2")
    assert exported.count("differ from the network's by at most") == 2


@pytest.mark.slow
def test_trackio_has_a_run_on_this_disk(tmp_path: Path) -> None:
    # It needs an older Pillow than the one the other tests run with, so it is installed beside them.
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", tmp_path / "site", "trackio>=0.8"]
    install_or_skip(*pip, cwd=tmp_path)
    tests = "tests/model/runs/test_writers.py::test_a_tracker_has_the_run_on_this_disk"
    printed = run(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{tests}[trackio]"),
        cwd=ROOT,
        PYTHONPATH=f"{tmp_path / 'site'}{os.pathsep}{ROOT / 'src'}",
    )
    assert "1 passed" in printed
