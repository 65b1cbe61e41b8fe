"""Laws of the doctor: it looks at this very machine, and what is wrong comes with what to do."""

import importlib.metadata
import os
import re
import stat
import tomllib
from pathlib import Path

import pytest

from alexkit.prep.reports import doctor


def test_this_machine_decodes_and_has_the_libraries(tmp_path: Path) -> None:
    checks = {check.name: check for check in doctor.examine(tmp_path)}
    assert checks["DALI decodes on the CPU"].found == "yes"
    assert checks["simplejpeg"].found == importlib.metadata.version("simplejpeg")
    assert not any(checks[name].mend for name in ("Python", *doctor.needed_libraries(), "DALI"))


@pytest.mark.parametrize(("machine", "needed"), [("x86_64", True), ("aarch64", False)])
def test_only_libraries_that_this_machine_installs_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, machine: str, needed: bool
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert ("cykooz-resizer" in doctor.needed_libraries()) == needed
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    names = {re.split("[ ><=;]", line)[0] for line in project["dependencies"]}
    assert names.issuperset(doctor.needed_libraries())


def test_a_missing_library_comes_with_its_install_command() -> None:
    check = doctor.check_library("no-such-library")
    assert check.found == "not installed" and check.mend == "pip install no-such-library"


@pytest.mark.parametrize(
    ("script", "found", "mends"),
    [
        ("echo 'NVIDIA H100, 555.42, 81559 MiB'", "NVIDIA H100, 555.42, 81559 MiB", False),
        ("echo 'Driver/library version mismatch' >&2; exit 9", "fails: Driver/library version mismatch", True),
    ],
)
def test_the_driver_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, found: str, mends: bool
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    check = doctor.check_driver()
    assert found in check.found and bool(check.mend) == mends


def test_a_small_disk_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "MIN_DISK_BYTES", 10**18)
    check = doctor.check_disk(tmp_path / "not/yet/there")
    assert "GB free" in check.found and "--out" in check.mend
