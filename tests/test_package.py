"""Laws of the package's structure: quick to import, imports in one direction, small files and folders, a true map."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src/alexkit"
STAGES = ("prep", "pipeline", "model", "cli")
HEAVY = (
    "torch",
    "nvidia",
    "matplotlib",
    "tensorboard",
    "cv2",
    "webdataset",
    "pyarrow",
    "numba",
    "onnx",
    "obstore",
    "scipy",
    "ray",
    "triton",
)

MAX_LINES = 400
MAX_FILES = 14

# What each part of a stage may import of its own stage; `pipeline` reads little of prep, so its list is of all stages.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "prep.storage": (),
    "prep.format": ("prep.storage",),
    "prep.images": ("prep.format",),
    "prep.workers": ("prep.format",),
    "prep.sources": ("prep.storage", "prep.format", "prep.workers"),
    "prep.demo": ("prep.format", "prep.workers", "prep.sources"),
    "prep.build": ("prep.storage", "prep.format", "prep.images", "prep.sources", "prep.workers"),
    "prep.reports": ("prep.storage", "prep.format", "prep.images", "prep.sources", "prep.workers", "prep.build"),
    "pipeline": ("pipeline", "prep.storage", "prep.format", "prep.images.stored", "prep.images.decode"),
    "model.gpu": (),
    "model.network": ("model.gpu",),
    "model.runs": ("model.network",),
    "model.processes": ("model.network",),
    "model.evaluation": ("model.network", "model.runs", "model.processes"),
    "model.training": ("model.gpu", "model.network", "model.runs", "model.processes", "model.evaluation"),
    "cli.prep": ("cli.terminal", "cli.locations"),
    # Several seeds are evaluated together.
    "cli.train": ("cli.terminal", "cli.locations", "cli.memory", "cli.default_group", "cli.eval"),
    "cli.eval": ("cli.terminal", "cli.locations", "cli.memory"),
}
# Training reads shard sets: importing how sources are read and sets are built would only take time.
OF_PREPARATION_ALONE = ("prep.sources", "prep.build", "prep.workers")


@pytest.mark.parametrize("module", ["alexkit", "alexkit.prep", "alexkit.pipeline", "alexkit.model", "alexkit.cli"])
def test_importing_a_stage_loads_nothing_heavy(module: str) -> None:
    assert loaded_by(f"import {module}") == set()


@pytest.mark.parametrize("command", ["alexprep", "alextrain", "alexeval"])
def test_help_loads_nothing_heavy(command: str) -> None:
    assert loaded_by(f"from alexkit.cli.{command} import {command} as c; c(['--help'], standalone_mode=False)") == set()


def test_help_of_all_three_needs_no_numpy() -> None:
    assert "numpy" not in modules_after(
        "from alexkit.cli.main import alexkit as c; c(['--help'], standalone_mode=False)"
    )


def loaded_by(code: str) -> set[str]:
    return modules_after(code) & set(HEAVY)


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys; print('LOADED', *{{name.split('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(run.stdout.rsplit("LOADED", 1)[1].split())


def modules() -> list[tuple[str, Path]]:
    """Every module of the four stages by its dotted name inside alexkit, a folder's `__init__` by the folder's."""
    found = []
    for stage in STAGES:
        for path in sorted((SOURCE / stage).rglob("*.py")):
            parts = path.relative_to(SOURCE).with_suffix("").parts
            found.append((".".join(parts).removesuffix(".__init__"), path))
    return found


def imported(name: str, path: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name, inside alexkit, of everything that module `name` imports of alexkit."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] == "alexkit" for alias in node.names), f"{path}: import relatively"
        elif isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("alexkit"), f"{path}: import relatively"
            if node.level:
                base = package[: len(package) - node.level + 1] + (node.module or "").split(".") * bool(node.module)
                for alias in node.names:
                    yield node.lineno, ".".join([*base, alias.name])


def inside(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(part + ".") for part in parts)


def wrong_arrows(name: str, path: Path, tree: ast.AST) -> list[str]:
    """The imports of a module that run against the arrows, as `file:line imports what`."""
    stage, wrong = name.split(".")[0], []
    part = ".".join(name.split(".")[:2]) if stage != "pipeline" else stage
    faces = face_of_format()
    for line, target in imported(name, path, tree):
        target_stage = target.split(".")[0]
        if target_stage not in STAGES:  # errors and the like, which import nothing of the stages
            continue
        later = STAGES.index(target_stage) > STAGES.index(stage)
        checked = part in MAY_IMPORT and (target_stage == stage or stage == "pipeline")
        face = stage == "pipeline" and target in {f"prep.{name}" for name in faces}
        unneeded = inside(name, ("model.network", "model.runs", "model.training")) and inside(
            target, OF_PREPARATION_ALONE
        )
        if later or unneeded or (checked and not face and not inside(target, (part, *MAY_IMPORT[part]))):
            wrong.append(f"{path.relative_to(SOURCE)}:{line} imports {target}")
    return wrong


def face_of_format() -> list[str]:
    """What prep.format exports, which pipeline may also import as `from ..prep import ...`."""
    for node in ast.parse((SOURCE / "prep/format/__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise AssertionError("prep/format/__init__.py has no __all__")


def test_imports_run_one_way() -> None:
    assert [wrong for name, path in modules() for wrong in wrong_arrows(name, path, ast.parse(path.read_text()))] == []


def test_no_files_import_each_other_in_a_circle() -> None:
    sources = dict(modules())
    graph = {name: set(imported_files(name, path, sources)) for name, path in sources.items()}
    assert graph["pipeline.loader"] >= {"pipeline.dataset", "pipeline.backends", "prep.storage"}
    list(TopologicalSorter(graph).static_order())  # CycleError names the files


def imported_files(name: str, path: Path, sources: dict[str, Path]) -> Iterator[str]:
    """The modules whose files a module imports, where it says so or to name a type."""
    for _, target in imported(name, path, ast.parse(path.read_text())):
        found = target if target in sources else target.rpartition(".")[0]
        if found in sources:
            yield found


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("prep.format.manifest", "from ..build.plan import ShardPlan"),
        ("prep.images.decode", "from ..sources.inputs import SourceImage"),
        ("prep.sources.inputs", "from ..reports.pca import report_colors"),
        ("prep.build.plan", "from .. import reports"),
        ("pipeline.loader", "from ..prep.workers import run_jobs"),
        ("pipeline.backends.dali", "from ...prep import build_shards"),
        ("prep.format.files", "from ...pipeline import Loader"),
        ("pipeline.order", "from ..model.network.wiring import wiring"),
        ("model.network.layers", "from ..runs.recipe import Recipe"),
        ("model.processes.layout", "from ..runs.run import Run"),
        ("model.evaluation.scores", "from ..training.trainer import Trainer"),
        ("model.training.run_data", "from ...prep.sources.labels import UNLABELED"),
        ("model.training.trainer", "from ...cli.terminal import progress"),
        ("cli.prep.shard", "from ..train.train import train"),
    ],
)
def test_imports_that_turn_an_arrow_around_are_found(name: str, line: str) -> None:
    assert len(wrong_arrows(name, SOURCE / f"{name.replace('.', '/')}.py", ast.parse(line))) == 1


def test_every_folder_but_three_has_arrows() -> None:
    parts = {".".join(name.split(".")[:2]) for name, path in modules() if path.name == "__init__.py" and "." in name}
    assert {part for part in parts if not part.startswith("pipeline.")} - MAY_IMPORT.keys() == {"model.recipes"}


def python_files() -> list[Path]:
    own = [path for _, path in modules()] + list(SOURCE.glob("*.py"))
    return own + [path for folder in ("tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")]


def test_no_file_is_long() -> None:
    lengths = {str(path): len(path.read_text().splitlines()) for path in python_files()}
    assert {path: length for path, length in lengths.items() if length > MAX_LINES} == {}


def test_no_folder_is_full() -> None:
    folders = [path.parent for path in python_files() if path.name != "__init__.py"]
    assert {str(folder) for folder in folders if folders.count(folder) > MAX_FILES} == set()


def test_the_map_in_contributing_is_the_tree() -> None:
    rows = re.findall(r"^\| `([a-z/]+)/` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    folders = [name.replace(".", "/") for name, path in modules() if path.name == "__init__.py"]
    assert sorted(rows) == sorted(folders)
    for folder in (SOURCE / stage for stage in STAGES):
        missing = [path.parent for path in folder.rglob("*.py") if not (path.parent / "__init__.py").exists()]
        assert not missing, "without an __init__.py a folder is in no wheel"
