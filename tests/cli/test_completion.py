"""What shells are told to complete, as each of them asks for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from alexkit.cli.alexeval import alexeval
from alexkit.cli.alexprep import alexprep
from alexkit.cli.alextrain import alextrain

PROGRAMS: dict[str, click.Command] = {"alexprep": alexprep, "alextrain": alextrain, "alexeval": alexeval}
FORMATS = {"jpeg", "png", "raw"}
T2 = {"t2a", "t2b", "t2c", "t2d"}
CASES = (
    ("alexprep sh", {"shard"}),
    ("alexprep shard --format ", FORMATS),
    ("alexprep completion ", {"bash", "zsh", "fish"}),
    ("alextrain rec", {"recipes"}),
    ("alextrain recipes s", {"show"}),
    ("alextrain recipes show t2", T2),
    ("alextrain --recipe t2", T2),
    ("alextrain --recipe 145", {"145", "145-2010", "145-half"}),
    ("alextrain --shards s3://nowhere/s --recipe t2", T2),
    ("alexeval pred", {"predict"}),
    ("alexeval --repo", {"--report"}),
    ("alexeval a.safetensors --recipe t2", T2),
    ("alexeval codes runs/original --checkpoint b", {"best"}),
    ("alexprep inspect s3://nowhere/s --js", {"--json"}),
)


def completed(line: str) -> set[str]:
    program, *words, typed = line.split(" ")
    shell = ShellComplete(PROGRAMS[program], {}, program, "_COMPLETE")
    return {item.value for item in shell.get_completions(words, typed) if item.type == "plain"}


@pytest.mark.parametrize(("line", "expected"), CASES, ids=[line for line, _ in CASES])
def test_a_line_is_completed(line: str, expected: set[str]) -> None:
    assert completed(line) == expected


def test_a_run_may_follow_where_a_verb_may() -> None:
    items = ShellComplete(alexeval, {}, "alexeval", "_COMPLETE").get_completions([], "ru")
    assert [item.type for item in items] == ["file"]


def test_a_tab_fetches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(*arguments: object) -> None:
        raise AssertionError("fetched")

    monkeypatch.setattr("alexkit.cli.locations._parsed", fetched)
    monkeypatch.setenv("ALEXKIT_SHARDS", "s3://nowhere/s")
    for line in ("alexprep inspect --js", "alextrain --recipe t2", "alexeval pred", "alexprep verify --js"):
        assert completed(line), line


BASH = """
eval "$(alexprep completion bash)"
COMP_WORDS=({words} "{typed}"); COMP_CWORD={at}
_{program}_completion {program}; echo "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize("shell", ["bash", "fish"])
@pytest.mark.parametrize(
    ("line", "expected"),
    [("alextrain --recipe t2", T2), ("alexprep shard --format ", FORMATS), ("alexeval pred", {"predict"})],
)
def test_the_shell_itself_completes(tmp_path: Path, shell: str, line: str, expected: set[str]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    program, *words, typed = line.split(" ")
    if shell == "bash":
        script = BASH.format(words=" ".join([program, *words]), typed=typed, at=1 + len(words), program=program)
    else:
        script = f"alexprep completion fish | source; complete -C '{line}'"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run([shell, "-c", script], env=environment, capture_output=True, text=True)
    found = done.stdout.split() if shell == "bash" else [row.split("\t")[0] for row in done.stdout.splitlines()]
    assert set(found) == expected, done.stderr
