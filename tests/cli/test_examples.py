"""Every example in every help runs as it stands, in a folder that holds what its names say."""

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from alexkit.cli.alexeval import alexeval
from alexkit.cli.alexprep import alexprep
from alexkit.cli.alextrain import alextrain
from alexkit.cli.default_group import DefaultGroup
from alexkit.cli.main import alexkit

PROGRAMS = {"alexprep": alexprep, "alextrain": alextrain, "alexeval": alexeval}
GROUPS: dict[str, click.Group] = {"alexprep": alexprep, "python -m alexkit": alexkit}
"""Those that do nothing themselves."""


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command below `command` that does something itself, by what a person types."""
    if isinstance(command, click.Group):
        if isinstance(command, DefaultGroup):
            yield path, command.default
        for name, inner in command.commands.items():
            yield from commands(inner, f"{path} {name}")
    else:
        yield path, command


COMMANDS = dict(pair for name, program in PROGRAMS.items() for pair in commands(program, name))


def examples_of(command: click.Command) -> list[str]:
    lines = (command.epilog or "").split("Examples:")[-1].splitlines()
    return [line.split(" >")[0].strip() for line in lines if line.strip()]


def examples_for(*programs: str) -> list[str]:
    """The examples of these programs; `push` needs a Hub: test_push.py runs it against a stand-in."""
    return [
        line
        for name, command in (COMMANDS | GROUPS).items()
        if name.split()[0] in programs and not name.endswith(" push")
        for line in examples_of(command)
    ]


@pytest.mark.parametrize("name", COMMANDS | GROUPS)
def test_every_help_is_whole(name: str) -> None:
    command = (COMMANDS | GROUPS)[name]
    assert examples_of(command), f"{name} --help shows no example"
    assert all(line.startswith(f"{name} ") or line == name for line in examples_of(command))
    unexplained = [option.name for option in command.params if isinstance(option, click.Option) and not option.help]
    assert not unexplained, f"{name}: options without a help text: {unexplained}"


@pytest.mark.parametrize("group", [alexkit, *PROGRAMS.values(), alextrain.commands["recipes"]])
def test_no_summary_is_cut_in_a_list_of_commands(group: click.Command) -> None:
    assert isinstance(group, click.Group)
    help_text = CliRunner().invoke(group, ["--help"], terminal_width=80).output
    listed = help_text.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert len(listed) == len(group.commands) and "..." not in "".join(listed), listed


ONE_LINE = {"alexprep push", "alexprep demo-images", "alexprep completion", "alexeval export", "alexeval push"}
"""Commands that print a URL, a sentence or a script, and no numbers."""


def test_every_command_that_prints_numbers_prints_them_as_json_too() -> None:
    with_json = {name for name, command in COMMANDS.items() if any("--json" in one.opts for one in command.params)}
    assert with_json == COMMANDS.keys() - ONE_LINE
    flags = [one for command in COMMANDS.values() for one in command.params if "--json" in one.opts]
    assert all(isinstance(one, click.Option) and one.is_flag for one in flags)


def invoke(line: str) -> str:
    program, *words = shlex.split(line.replace("python -m alexkit", "alexkit"))
    result = CliRunner().invoke((PROGRAMS | {"alexkit": alexkit})[program], words, catch_exceptions=False)
    assert result.exit_code == 0, f"{line}\n{result.output}"
    return result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ImageNet, its shards, a list of photographs and tars made elsewhere."""
    folder = tmp_path_factory.mktemp("examples")
    invoke(f"alexprep demo-images {folder}/imagenet --train 20 --val 10")
    invoke(f"alexprep shard {folder}/imagenet --out {folder}/shards")
    rows = [f"{path},{path.parent.name}\n" for path in sorted((folder / "imagenet/train").rglob("*.*"))]
    (folder / "photos.csv").write_text("path,label\n" + "".join(rows))
    (folder / "their-tars").mkdir()
    for tar in (folder / "shards/train").glob("*.tar"):
        shutil.copy(tar, folder / "their-tars")
    return folder


@pytest.mark.parametrize("line", dict.fromkeys(examples_for("alexprep", "python")))
def test_every_example_runs(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ALEXKIT_SHARDS", "shards")
    line = line.replace("/imagenet", "imagenet").replace("--train 200 --val 50", "--train 20 --val 10")
    if line.startswith("alexprep doctor"):  # not every machine has room for all of ImageNet
        monkeypatch.setattr("alexkit.prep.reports.doctor.MIN_DISK_BYTES", 0)
        monkeypatch.setattr("alexkit.prep.reports.doctor.MIN_SHARED_BYTES", 0)
        monkeypatch.setattr("alexkit.prep.reports.doctor.MIN_OPEN_FILES", 0)
    invoke(line)


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    """The same folder with the runs and the photograph that examples name."""
    # The networks that examples name take long to train; the commands read any run alike.
    small = ["training.epochs=1", "training.batch_size=10", "network.kind=cifar10-13", "data.crop=24", "data.flip=true"]
    options = " ".join(f"--set {word}" for word in small)
    invoke(f"alextrain --recipe cifar10-19 --shards {folder}/shards --runs {folder}/runs --name original {options}")
    for name in ("one", "two", "cifar10-13", "cifar10-11"):
        shutil.copytree(folder / "runs/original", folder / "runs" / name)
    shutil.copy(next((folder / "imagenet/val").rglob("*.JPEG")), folder / "photo.jpg")
    return folder


def slow_where_the_large_network_is_trained(line: str) -> object:
    slow = line.startswith("alextrain --") and "cifar10" not in line
    return pytest.param(line, marks=pytest.mark.slow) if slow else line


@pytest.mark.parametrize("line", [*map(slow_where_the_large_network_is_trained, examples_for("alextrain", "alexeval"))])
def test_every_example_of_training_and_evaluation_runs(
    trained: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.chdir(trained)
    if line.startswith("alextrain --"):  # a network and a length for twenty images
        small = ["training.epochs=1", "training.batch_size=10", *(["data.crop=32"] if "cifar10" in line else [])]
        line += " ".join(["", "--runs new", *(f"--set {word}" for word in small)])
    invoke(line)
