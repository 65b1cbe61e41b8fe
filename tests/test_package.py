"""The package as it is installed: complete, quick to import, one direction of imports."""

import ast
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STAGES = ("prep", "pipeline", "model", "cli")
HEAVY = ("torch", "nvidia", "matplotlib", "tensorboard", "cv2", "webdataset", "pyarrow", "numba", "onnx")


def test_the_wheel_holds_every_module_and_nothing_else(tmp_path: Path) -> None:
    # A copy, so that an old build folder of the checkout cannot hide a module that is left out.
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for name in (*STAGES, "src"):
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip"]
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *options, "-w", "out", "./tree"], cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "out").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {f"alexkit/{name}" for name in ("__init__.py", "errors.py", "py.typed")}
    for stage in STAGES:
        for path in (ROOT / stage).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                expected.add(f"alexkit/{stage}/{path.relative_to(ROOT / stage).as_posix()}")
    assert packed == expected

    subprocess.run([*pip, "install", *options, "--target", "site", str(wheel)], cwd=tmp_path, check=True)
    script = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); import alexkit.prep as p; print(p.__file__)"
    shown = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert Path(shown.stdout.strip()).is_relative_to(tmp_path / "site")


@pytest.mark.parametrize("module", ["alexkit", "alexkit.prep", "alexkit.pipeline", "alexkit.model", "alexkit.cli"])
def test_importing_a_stage_loads_nothing_heavy(module: str) -> None:
    assert loaded_by(f"import {module}") == set()


@pytest.mark.parametrize("command", ["alexprep", "alextrain", "alexeval"])
def test_help_loads_nothing_heavy(command: str) -> None:
    assert loaded_by(f"from alexkit.cli.{command} import {command} as c; c(['--help'], standalone_mode=False)") == set()


def loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys; print('LOADED', *{{name.split('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(run.stdout.rsplit("LOADED", 1)[1].split()) & set(HEAVY)


def test_imports_run_one_way() -> None:
    for number, stage in enumerate(STAGES):
        for path in (ROOT / stage).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom):
                    assert not (node.module or "").startswith("alexkit"), f"{path}: import relatively"
                    target = (node.module or "").split(".")[0]
                    if node.level == 2 and target in STAGES:
                        assert STAGES.index(target) < number, f"{path}:{node.lineno} imports a later stage, {target}"
                elif isinstance(node, ast.Import):
                    assert not any(alias.name.split(".")[0] == "alexkit" for alias in node.names), path
