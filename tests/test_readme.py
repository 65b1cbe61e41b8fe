"""README and docs are true: their Python runs, the commands run, and no command is left out."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from alexkit.cli.default_group import DefaultGroup

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(command: str, folder: Path) -> str:
    """Run one line of the README in `folder` as a shell would find it; what it prints to stdout."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(shlex.split(command), cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small ImageNet: the demo set, twenty images to train on."""
    folder = tmp_path_factory.mktemp("readme")
    run("alexprep demo-images imagenet --train 20 --val 10", folder)
    return folder


SHORTER = "--set training.epochs=1 --set training.batch_size=10"


def test_the_commands_for_imagenet_run_as_they_stand_but_shorter(folder: Path) -> None:
    (block,) = (block for block in code_blocks(README, "sh") if "/imagenet" in block)
    lines = [line.split("#")[0].strip().replace("/imagenet", "imagenet") for line in block.splitlines()]
    commands = [line for line in lines if line]
    assert [command.split()[0] for command in commands] == ["alexprep", "alexprep", "alextrain", "alexeval"]
    printed = [run(f"{command} {SHORTER if 'alextrain' in command else ''}", folder) for command in commands]
    assert re.search(r"train +20", printed[0])
    assert "eigenvalue" in printed[1]
    assert "10 images" in printed[3] and "ten views" in printed[3]
    for picture in ("shards/train/pca.png", "runs/original/curves.png", "runs/original/filters.png"):
        assert (folder / picture).stat().st_size > 10_000


WITH_PYTHON = [page for page in PAGES if code_blocks(page.read_text(), "python")]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=[str(page.relative_to(ROOT)) for page in WITH_PYTHON])
def test_the_python_runs_as_it_stands(folder: Path, page: Path) -> None:
    if not (folder / "shards").exists():
        run("alexprep shard imagenet", folder)
    for name in re.findall(r'"runs/([a-z]+)"', page.read_text()):
        if not (folder / "runs" / name).exists():
            run(f"alextrain --shards shards --recipe {name} {SHORTER}", folder)
    for block in code_blocks(page.read_text(), "python"):
        subprocess.run([sys.executable, "-c", block], cwd=folder, check=True, timeout=120)


HOW_TO = ("what-limits-loading", "staging", "verify-and-repair", "adopt")


@pytest.mark.slow
@pytest.mark.parametrize("name", HOW_TO)
def test_the_commands_of_a_how_to_page_run_as_they_stand_but_shorter(folder: Path, name: str) -> None:
    if not (folder / "shards").exists():
        run("alexprep shard imagenet", folder)
    if not (folder / "photos").exists():
        (folder / "photos").symlink_to("imagenet")
        (folder / "their-tars").mkdir()
        for tar in (folder / "shards/train").glob("*.tar"):
            shutil.copy(tar, folder / "their-tars")
    blocks = code_blocks((ROOT / f"docs/how-to/{name}.md").read_text(), "sh")
    assert blocks
    script = f'set -e\nalextrain() {{ command alextrain "$@" {SHORTER}; }}\n' + "\n".join(blocks)
    run(f"bash -c {shlex.quote(script)}", folder)


def test_every_picture_and_page_that_is_linked_is_there() -> None:
    for page in PAGES:
        links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
        gone = [link for link in links if "://" not in link and not (page.parent / link).exists()]
        assert not gone, f"{page.relative_to(ROOT)} links to {gone}"


def commands(command: click.Command, path: str) -> list[str]:
    if not isinstance(command, click.Group):
        return [path]
    inner = [name for verb, below in command.commands.items() for name in commands(below, f"{path} {verb}")]
    return inner + ([path] if isinstance(command, DefaultGroup) else [])


def programs() -> tuple[click.Group, ...]:
    from alexkit.cli.alexeval import alexeval
    from alexkit.cli.alexprep import alexprep
    from alexkit.cli.alextrain import alextrain

    return alexprep, alextrain, alexeval


def test_every_command_is_in_the_table() -> None:
    rows = re.findall(r"^\| `(alex[a-z -]+?)(?: [^a-z`][^`]*)?` \|", README, re.MULTILINE)
    assert sorted(rows) == sorted(name for program in programs() for name in commands(program, program.name or ""))


def test_the_reference_takes_the_options_of_every_command_from_the_command_itself() -> None:
    page = (ROOT / "docs/reference/commands.md").read_text()
    shown = re.findall(r"^\.\. click:: [\w.]+:\w+\n   :prog: (.+)\n   :nested: (full|none)$", page, re.MULTILINE)
    nested = [name for name, below in shown if below == "full"]
    for program in programs():
        for name in commands(program, program.name or ""):
            assert name in dict(shown) or any(name.startswith(f"{outer} ") for outer in nested), name


def test_every_promise_names_tests_that_exist() -> None:
    rows = [line for line in (ROOT / "docs/trust.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 25
    for row in rows:
        places = re.findall(r"`(tests/[^`]*)`", row)
        assert places, f"held by no test: {row}"
        for place in places:
            path, _, name = place.partition("::")
            assert (ROOT / path).exists(), place
            assert not name or re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE), place
