"""A stranger's code passes `mypy --strict` and pyright, mistakes in it do not; the code of the docs passes too."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import alexkit.model
import alexkit.pipeline
import alexkit.prep

from .test_readme import PAGES, code_blocks

ROOT = Path(__file__).parent.parent
SCRIPTS = Path(__file__).parent / "typing"
CHECKERS = {
    "mypy": ["mypy", "--strict", "--no-error-summary"],
    "pyright": ["pyright", "--pythonpath", sys.executable],
}


def findings(checker: str, *files: Path, cwd: Path, options: tuple[str, ...] = ()) -> list[str]:
    """What a checker says about some files, read in a folder that has nothing of ours but them."""
    command = [sys.executable, "-m", *CHECKERS[checker], *options, *map(str, files)]
    environment = {"PATH": str(Path(sys.executable).parent), "HOME": str(cwd), "MYPYPATH": str(ROOT / "src")}
    (cwd / "pyrightconfig.json").write_text(f'{{"extraPaths": ["{ROOT / "src"}"]}}')
    printed = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)
    assert "error" in printed.stdout or printed.returncode == 0, printed.stdout + printed.stderr
    # As in an installed package, nothing is said about alexkit itself, which `make check` reads with its own options.
    lines = [line.strip() for line in printed.stdout.splitlines()]
    return [line for line in lines if re.match(r"[^:]*\w+\.py:\d+(:\d+ -|:) error:", line) and "/alexkit/" not in line]


def copied(name: str, folder: Path) -> Path:
    """A script outside of this checkout, whose configuration checkers would take."""
    copy = folder / name
    copy.write_text((SCRIPTS / name).read_text())
    return copy


def test_the_right_script_has_every_public_name() -> None:
    script = (SCRIPTS / "right.py").read_text()
    for stage in (alexkit.prep, alexkit.pipeline, alexkit.model):
        for name in stage.__all__:
            assert len(re.findall(rf"\b{name}\b", script)) > 1, f"{stage.__name__}.{name} is not used"


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_right_code_passes(tmp_path: Path, checker: str) -> None:
    assert findings(checker, copied("right.py", tmp_path), cwd=tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_every_mistake_is_found_and_nothing_else(tmp_path: Path, checker: str) -> None:
    script = copied("wrong.py", tmp_path)
    expected = {i for i, line in enumerate(script.read_text().splitlines(), 1) if line.endswith("# wrong")}
    found = findings(checker, script, cwd=tmp_path)
    assert {int(match.group(1)) for line in found if (match := re.search(r":(\d+):", line))} == expected, found


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_the_code_of_the_docs_passes(tmp_path: Path, checker: str) -> None:
    files = []
    for page in PAGES:
        for number, block in enumerate(code_blocks(page.read_text(), "python")):
            if "import" in block:  # else a piece of code that is on the page to be read
                files.append(tmp_path / f"{page.stem.replace('-', '_')}_{number}.py")
                files[-1].write_text(block)
    # torch's own `backward` has no annotations.
    assert findings(checker, *files, cwd=tmp_path, options=("--allow-untyped-calls",) * (checker == "mypy")) == []
