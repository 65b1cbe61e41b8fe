"""Laws of the doctor: it looks at this very machine, and what is wrong comes with what to do."""

import importlib.metadata
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import alexkit
from alexkit.extras import NEEDED
from alexkit.prep.reports import doctor

REMOVE = "pip uninstall --yes nvidia-dali-cuda"


def test_this_machine_decodes_and_has_the_libraries(tmp_path: Path) -> None:
    checks = {check.name: check for check in doctor.examine(tmp_path)}
    assert checks["DALI decodes on the CPU"].found == "yes"
    assert checks["simplejpeg"].found == importlib.metadata.version("simplejpeg")
    assert not any(checks[name].fix for name in ("Python", *doctor.needed_libraries(), "DALI"))


@pytest.mark.parametrize(("machine", "needed"), [("x86_64", True), ("aarch64", False)])
def test_only_libraries_that_this_machine_installs_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, machine: str, needed: bool
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert ("cykooz-resizer" in doctor.needed_libraries()) == needed
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    names = {re.split("[ ><=;]", line)[0] for line in project["dependencies"]}
    assert names - {"cykooz-resizer"} == set(doctor.needed_libraries()) - {"cykooz-resizer"}


def test_every_library_of_an_extra_is_looked_for_and_has_its_pip_line() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [
        line for name, lines in extras.items() if name not in ("dev", "docs", "examples", "test") for line in lines
    ]
    names = {re.split("[ ><=;]", line)[0] for line in lines if not line.startswith(("alexkit", "nvidia-dali"))}
    assert names == set(doctor.OPTIONAL_LIBRARIES) and names <= set(NEEDED)
    for extra, lines in extras.items():
        for name in names & {re.split("[ ><=;]", line)[0] for line in lines}:
            if extra not in ("dev", "docs", "examples", "all"):
                assert f"pip install 'alexkit[{extra}]'" in NEEDED[name]


def test_a_missing_library_comes_with_its_install_command() -> None:
    check = doctor.check_base_library("no-such-library")
    assert check.found == "not installed" and check.fix == "pip install no-such-library"


@pytest.mark.parametrize(
    ("script", "found", "fixes"),
    [
        ("echo 'NVIDIA H100, 555.42, 81559 MiB'", "NVIDIA H100, 555.42, 81559 MiB", False),
        ("\0", "cannot be started: Exec format error", True),
        ("echo 'Driver/library version mismatch' >&2; exit 9", "fails: Driver/library version mismatch", True),
    ],
)
def test_the_driver_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, found: str, fixes: bool
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(script if script == "\0" else f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    check = doctor.check_driver()
    assert found in check.found and bool(check.fix) == fixes


def test_a_small_disk_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "MIN_DISK_BYTES", 10**18)
    check = doctor.check_disk(tmp_path / "not/yet/there")
    assert "GB free" in check.found and "--out" in check.fix


@pytest.mark.parametrize(
    ("torch", "dali", "driver", "fix"),
    [
        ("12.8", ["nvidia-dali-cuda120"], 570, ""),
        ("13.0", ["nvidia-dali-cuda130"], 580, ""),
        ("13.0", ["nvidia-dali-cuda120"], None, ""),  # without a GPU each build runs
        ("13.0", ["nvidia-dali-cuda120"], 580, f"{REMOVE}120 && pip install 'alexkit[cu13]'"),
        ("12.8", ["nvidia-dali-cuda130"], 580, f"{REMOVE}130 && pip install 'alexkit[cu12]'"),
        (
            "13.0",
            ["nvidia-dali-cuda130"],
            555,
            "update the driver to 580, or install PyTorch for CUDA 12 and alexkit[cu12]",
        ),
        (None, ["nvidia-dali-cuda120"], 555, "pip install --force-reinstall torch  # this build cannot use the GPU"),
    ],
)
def test_cuda_versions_that_do_not_fit_come_with_the_line_that_fixes_them(
    torch: str | None, dali: list[str], driver: int | None, fix: str
) -> None:
    assert doctor.check_cuda(torch, dali, driver).fix == fix


def test_the_cuda_version_of_torch_is_read_without_importing_it() -> None:
    code = "import sys; from alexkit.prep.reports.doctor import torch_cuda; print(torch_cuda(), 'torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    truth = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.version.cuda)"], capture_output=True, text=True, check=True
    )
    assert printed == [truth.stdout.strip(), "False"]


def test_installations_that_are_not_whole_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = doctor.installed_packages()
    known = doctor.check_installed(before)
    (tmp_path / "foo-1.0.dist-info").mkdir()
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    after = doctor.installed_packages()
    packages, torch = (check for check in doctor.check_installed(after) if check not in known)
    assert packages.fix == f"rm -r {tmp_path / 'foo-1.0.dist-info'}"
    assert "version.py is missing" in torch.found and torch.fix == "pip install --force-reinstall torch"
    assert doctor.torch_cuda() is None and doctor.check_base_library("foo").fix
    assert doctor.dali_wheels(after) == doctor.dali_wheels(before) != []


def test_the_metadata_of_installed_packages_are_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    times, distributions = [], importlib.metadata.distributions
    monkeypatch.setattr("importlib.metadata.distributions", lambda: times.append(1) or distributions())
    monkeypatch.setattr(doctor, "_decodes", lambda name, device, wheel: doctor.Check(name=name, found="yes"))
    doctor.examine(tmp_path)
    assert len(times) == 1


def test_a_folder_that_cannot_be_written_to_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    check = doctor.check_disk(tmp_path / "not/yet/there")
    assert check.found.startswith(f"{tmp_path}: no permission") and check.fix == "choose another folder with --out"


def test_a_folder_that_cannot_be_looked_at_is_a_line(tmp_path: Path) -> None:
    assert doctor.check_disk(tmp_path / ("x" * 300)).fix == "choose another folder with --out"


def test_the_driver_version_is_read_from_what_nvidia_smi_says() -> None:
    assert doctor.driver_version(doctor.Check(name="GPU", found="NVIDIA H100, 555.42.06, 81559 MiB")) == 555
    assert doctor.driver_version(doctor.Check(name="GPU", found="no NVIDIA driver")) is None


def test_the_report_as_json_names_version_checks_and_fixes() -> None:
    check = {"name": "disk", "found": "1 GB free", "fix": "make room"}
    assert doctor.to_json([doctor.Check(**check)]) == {"alexkit": alexkit.__version__, "checks": [check]}
