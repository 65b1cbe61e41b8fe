"""Dockerfile and workflows: what they copy is there, their shell is sound, and steps that can run anywhere are run."""

import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from alexkit import __version__

from .test_package import ROOT, STAGES

DOCKERFILE = (ROOT / "Dockerfile").read_text()
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def shell(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script as GitHub and Docker do, in the checkout."""
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", **environment}
    return subprocess.run(["bash", "-e", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)


def test_the_container_is_made_of_files_that_are_there() -> None:
    assert "COPY . .\n" in DOCKERFILE
    sent = re.findall("^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    # In an sdist the stages are in src/alexkit alone, and only there is its metadata.
    needed = set(sent) - {"PKG-INFO"} - ({*STAGES} if not (ROOT / "prep").exists() else set())
    assert needed >= {"pyproject.toml", "setup.py", "README.md", "LICENSE", "constraints.txt", "src"}
    assert all((ROOT / name).exists() for name in needed)
    assert (ROOT / "src/alexkit/prep/__init__.py").exists() and {*STAGES} <= set(sent)


@pytest.mark.parametrize(("cuda", "index"), [("12", "twelve"), ("13", "thirteen"), ("11", None)])
def test_the_container_takes_torch_for_the_cuda_that_was_asked_for(cuda: str, index: str | None) -> None:
    (install,) = re.findall(r"^RUN (case .+?[^\\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    script = 'pip() { echo "pip $*"; }\n' + install.replace("\\\n", " ")
    done = shell(script, CUDA=cuda, TORCH_INDEX_12="twelve", TORCH_INDEX_13="thirteen")
    if index is None:
        assert done.returncode == 1 and "CUDA must be 12 or 13" in done.stdout
        return
    pinned = re.findall(r"^torch==.+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    lines = done.stdout.splitlines()
    assert lines[0] == f"pip install --no-cache-dir --index-url {index} {pinned[0]}", done.stderr
    assert lines[1] == f"pip install --no-cache-dir --constraint constraints.txt .[all,cu{cuda}]"


def test_the_container_has_a_compiler_for_tritons_launchers() -> None:
    (install,) = re.findall("^RUN (apt-get .+)$", DOCKERFILE, re.MULTILINE)
    assert {"gcc", "libc6-dev"} <= set(install.split())


def test_wheels_for_a_machine_without_network_are_asked_for_by_every_platform_tag(tmp_path: Path) -> None:
    """NCCL's wheels are tagged manylinux_2_18 and CUPTI's 2_25; pip takes a wheel only if its own tag is named."""
    pip = f'#!/bin/bash\necho "$*" >>{tmp_path}/calls\ntouch {tmp_path}/wheels/alexkit-1-py3-none-any.whl\n'
    (tmp_path / "python").write_text(pip)
    (tmp_path / "python").chmod(0o755)
    script = ROOT / "benchmarks/gpu-wheels.sh"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", str(script), str(tmp_path / "wheels")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    _, download = (tmp_path / "calls").read_text().splitlines()
    tags = {f"manylinux_2_{minor}_x86_64" for minor in range(17, 29)} | {"manylinux2014_x86_64"}
    assert set(re.findall(r"--platform (\S+)", download)) == tags
    assert f"--constraint {ROOT}/constraints.txt" in download and "/alexkit-1-py3-none-any.whl[cu13,train" in download


def steps() -> list[Any]:
    """Every `run` of every job."""
    found = []
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            found += [pytest.param(step["run"], id=f"{path.stem}-{name}") for step in job["steps"] if "run" in step]
    return found


@pytest.mark.parametrize("script", steps())
def test_the_shell_of_every_step_parses_and_its_make_targets_exist(script: str) -> None:
    assert subprocess.run(["bash", "-n", "-c", script], capture_output=True).returncode == 0
    targets = [word for line in re.findall(r"^make (.+)$", script, re.MULTILINE) for word in line.split()]
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE) for target in targets)


def test_the_readme_of_a_release_leads_to_the_files_of_its_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    # PyPI shows the README far from the files beside it.
    monkeypatch.setenv("ALEXKIT_REPOSITORY", "https://github.com/someone/alexkit")
    metadata = runpy.run_path(str(ROOT / "setup.py"))["metadata"]()
    text, urls = metadata["long_description"], metadata["project_urls"]
    links = re.findall(r"""(?:\]\(|\bsrc="|\bsrcset=")([^)"]+)""", text)
    whole = re.compile(rf"https://github\.com/someone/alexkit/(blob|raw)/v{re.escape(__version__)}/(.+)")
    ours = [found for link in links if (found := whole.fullmatch(link))]
    assert len(ours) > 20 and all((ROOT / found[2]).exists() for found in ours)
    assert {found[2] for found in ours if found[1] == "raw"} >= {"docs/architecture.svg", "docs/report.png"}
    assert [link for link in links if "://" not in link] == []
    assert urls["Source"] == "https://github.com/someone/alexkit" and len(urls) == 4
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    (step,) = [step for step in workflow["jobs"]["build"]["steps"] if step.get("run") == "python -m build"]
    assert step["env"]["ALEXKIT_REPOSITORY"] == "${{ github.server_url }}/${{ github.repository }}"


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__ and citation["references"][0]["year"] == 2012


@pytest.mark.parametrize(("tag", "right"), [(f"v{__version__}", True), ("v0.0.0", False), (__version__, False)])
def test_a_release_needs_the_tag_of_its_version(tag: str, right: bool) -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    (step,) = [s for s in workflow["jobs"]["build"]["steps"] if s.get("name") == "The tag is the version"]
    script = step["run"].replace("python -c", "python3 -c")
    assert (shell(script, GITHUB_REF_NAME=tag).returncode == 0) == right
