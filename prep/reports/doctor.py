"""Checks of this machine. Each check reports what it found and, if something is wrong, how to fix it.

None of them needs a GPU, DALI or torch: whatever is missing is reported.
"""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...cores import num_cores
from ...extras import NEEDED
from ..format.files import existing_part, free_bytes

BASE_LIBRARIES = (
    *("numpy", "numba", "pillow", "simplejpeg", "opencv-python-headless", "crc32c"),
    *("pydantic", "click", "rich"),
)
OPTIONAL_LIBRARIES = (
    *("torch", "safetensors", "tensorboard", "matplotlib", "jinja2", "pyarrow", "onnx", "onnxruntime"),
    *("obstore", "huggingface_hub", "wandb", "trackio", "ray"),
)
CUDA_DRIVERS = {12: 525, 13: 580}
"""The oldest driver for each major CUDA version (NVIDIA's compatibility table)."""
MIN_OPEN_FILES = 1024
MIN_SHARED_BYTES = 2**30
MIN_DISK_BYTES = 50 * 10**9  # 1.33 million images of about 33 kB
DALI_DECODE = """
import io, numpy as np
from PIL import Image
from nvidia.dali import fn, pipeline_def
file = io.BytesIO(); Image.new("RGB", (64, 64), (200, 100, 50)).save(file, "JPEG", quality=95)
@pipeline_def(batch_size=1, num_threads=1, device_id=DEVICE)
def pipeline():
    data = fn.external_source(source=lambda: [np.frombuffer(file.getvalue(), np.uint8)])
    image = fn.decoders.image(data, device="cpu" if DEVICE is None else "mixed")
    return image
built = pipeline(); built.build(); output = built.run()[0]
image = np.asarray((output if DEVICE is None else output.as_cpu())[0])
assert image.shape == (64, 64, 3) and np.abs(image[8, 8].astype(int) - [200, 100, 50]).max() < 8, image[8, 8]
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One line of the report."""

    name: str
    """What was checked."""
    found: str
    """What was found."""
    fix: str = ""
    """Exactly what to do; empty if all is well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """An installed package."""

    name: str | None
    """Its name in lower case; None if its metadata lacks one or cannot be read."""
    path: str
    """The folder of its metadata."""


def examine(out: Path) -> list[Check]:
    """Run all checks; `out` is the folder that shards would be written to."""
    checks = [_python(), *map(check_base_library, needed_libraries()), *map(check_optional_library, OPTIONAL_LIBRARIES)]
    driver, packages, cuda = check_driver(), installed_packages(), torch_cuda()
    checks += [driver, *check_installed(packages), *_dali(cuda, packages)]
    if driver.found and not driver.fix:
        checks.append(check_cuda(cuda, dali_wheels(packages), driver_version(driver)))
    return [*checks, _open_files(), _shared_memory(), check_disk(out)]


def to_json(checks: list[Check]) -> dict[str, Any]:
    """The report as plain data, for a bug report or a program."""
    from ... import __version__

    return {"alexkit": __version__, "checks": [asdict(check) for check in checks]}


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.platform(terse=True)}, {num_cores()} of {os.cpu_count()} cores"
    return Check(name="Python", found=found, fix="" if sys.version_info >= (3, 11) else "install Python 3.11 or newer")


def needed_libraries() -> tuple[str, ...]:
    """The distributions that alexkit always needs on this kind of machine."""
    # As in pyproject.toml: without cykooz-resizer, use `--filter area`.
    return BASE_LIBRARIES if platform.machine() == "aarch64" else (*BASE_LIBRARIES, "cykooz-resizer")


def check_base_library(distribution: str) -> Check:
    """Whether a distribution that alexkit always needs is installed, and its version."""
    version = _version(distribution)
    return Check(
        name=distribution, found=version or "not installed", fix="" if version else f"pip install {distribution}"
    )


def check_optional_library(distribution: str) -> Check:
    """The installed version of a library from an extra, or what it is needed for."""
    return Check(name=distribution, found=_version(distribution) or f"not installed: {NEEDED[distribution]}")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except (importlib.metadata.PackageNotFoundError, OSError, ValueError, KeyError, TypeError):
        return None  # not installed, or incomplete


def torch_cuda() -> str | None:
    """The CUDA version that PyTorch is built for, e.g. "12.8"; None for a CPU build or no PyTorch. Imports nothing."""
    try:
        spec = importlib.util.find_spec("torch")
        if spec is None or spec.origin is None:
            return None
        text = Path(spec.origin).with_name("version.py").read_text("utf-8", "replace")
    except (OSError, ValueError):
        return None  # `check_installed` reports it
    found = re.search(r"^cuda\b[^=\n]*= *'([\d.]+)'", text, re.MULTILINE)
    return found.group(1) if found else None


def check_installed(packages: Iterable[Package]) -> list[Check]:
    """Incomplete installations, as left by an interrupted pip; empty if there are none."""
    checks = []
    for package in packages:
        if package.name is None:
            found, fix = f"{package.path} does not name a package", f"rm -r {shlex.quote(package.path)}"
            checks.append(Check(name="packages", found=found, fix=fix))
    try:
        spec = importlib.util.find_spec("torch")
        if spec and spec.origin and not Path(spec.origin).with_name("version.py").is_file():
            raise FileNotFoundError("its version.py is missing")
    except (OSError, ValueError) as error:
        fix = "pip install --force-reinstall torch"
        checks.append(Check(name="torch", found=f"incomplete installation: {error}", fix=fix))
    return checks


def installed_packages() -> list[Package]:
    """All packages that Python finds; their metadata are read."""
    return [
        Package(name=_name(one), path=str(getattr(one, "_path", "a package")))
        for one in importlib.metadata.distributions()
    ]


def _name(distribution: importlib.metadata.Distribution) -> str | None:
    """The name in an installed package's metadata, in lower case; None if it is missing or cannot be read."""
    try:
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    except (OSError, ValueError):
        return None
    found = re.search(r"^Name:\s*(\S+)", text, re.MULTILINE | re.IGNORECASE)
    return found.group(1).lower() if found else None


def check_driver() -> Check:
    """What nvidia-smi reports, if it is installed."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return Check(name="GPU", found="no NVIDIA driver; everything runs on the CPU")
    query = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, errors="replace", timeout=30)
    except subprocess.TimeoutExpired:
        return Check(name="GPU", found="nvidia-smi does not respond", fix="restart the NVIDIA driver, or the machine")
    except OSError as error:
        found = f"{program} cannot be started: {error.strerror}"
        return Check(name="GPU", found=found, fix="reinstall the NVIDIA driver, then restart")
    if answer.returncode != 0:
        words = " ".join((answer.stderr or answer.stdout).split())[:120]
        return Check(name="GPU", found=f"nvidia-smi fails: {words}", fix="reinstall the NVIDIA driver, then restart")
    return Check(name="GPU", found="; ".join(answer.stdout.split("\n")).strip("; "))


def driver_version(driver: Check) -> int | None:
    """The major version of the driver that `check_driver` found; None if it found none."""
    found = re.search(r", (\d+)\.\d[\d.]*,", driver.found)
    return int(found.group(1)) if found else None


def dali_wheels(packages: Iterable[Package]) -> list[str]:
    """The names of DALI among installed packages, for example `nvidia-dali-cuda120`."""
    return _names("nvidia-dali-cuda", packages)


def _names(start: str, packages: Iterable[Package]) -> list[str]:
    return sorted({one.name for one in packages if one.name and one.name.startswith(start)})


def check_cuda(torch: str | None, dali: list[str], driver: int | None) -> Check:
    """Whether PyTorch, DALI and the driver fit the same major CUDA version; `driver` is None without a GPU."""
    major = int(torch.split(".")[0]) if torch else None
    built = [int(name.removeprefix("nvidia-dali-cuda")[:2]) for name in dali]
    newest = max((cuda for cuda, first in CUDA_DRIVERS.items() if driver and driver >= first), default=None)
    found = f"PyTorch {torch or 'for the CPU'}, DALI {built[0] if built else 'not installed'}"
    found += f", driver up to {newest}" if newest else ""
    fix = ""
    if driver and major is None and _version("torch"):
        fix = "pip install --force-reinstall torch  # this build cannot use the GPU"
    elif driver and major and newest and newest < major:
        fix = f"update the driver to {CUDA_DRIVERS.get(major, 'the newest')}, or install PyTorch for CUDA {newest} and "
        fix += f"alexkit[cu{newest}]"
    elif driver and major and built and built[0] != major:
        fix = f"pip uninstall --yes {dali[0]} && pip install 'alexkit[cu{major}]'"
    return Check(name="CUDA", found=found, fix=fix)


def _dali(cuda: str | None, packages: Sequence[Package]) -> list[Check]:
    dali = dali_wheels(packages)
    if not dali:
        if sys.platform != "linux":
            return [Check(name="DALI", found="not installed: DALI, and so training, needs Linux")]
        if _version("torch") is None:
            return [Check(name="DALI", found=f"not installed: {NEEDED['nvidia']}")]
        extra = "cu13" if cuda and cuda.startswith("13") else "cu12"
        return [Check(name="DALI", found="not installed", fix=f"pip install 'alexkit[{extra}]'")]
    wheels = ", ".join(f"{name} {_version(name)}" for name in (*dali, *_names("nvidia-nvimgcodec", packages)))
    if len(dali) > 1:
        # They share one module: uninstalling only one would leave the other incomplete.
        fix = f"pip uninstall --yes {' '.join(dali)} && pip install 'alexkit[cu{dali[0][-3:-1]}]'"
        return [Check(name="DALI", found=wheels, fix=fix)]
    checks = [Check(name="DALI", found=wheels), _decodes("DALI decodes on the CPU", "None", dali[0])]
    if shutil.which("nvidia-smi"):
        checks.append(_decodes("DALI decodes on the GPU", "0", dali[0]))
    return checks


def _decodes(name: str, device: str, wheel: str) -> Check:
    """Decode one JPEG in a separate process, since a broken driver can crash it."""
    code = DALI_DECODE.replace("DEVICE", device)
    try:
        answer = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, errors="replace", timeout=120
        )
    except OSError as error:
        return Check(name=name, found=f"Python cannot be started: {error.strerror}", fix="reinstall Python")
    except subprocess.TimeoutExpired:
        return Check(name=name, found="no response in 120 s", fix="restart the machine; then run alexprep doctor again")
    if answer.returncode == 0:
        return Check(name=name, found="yes")
    last = (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1][:160]
    return Check(name=name, found=f"no: {last}", fix=f"pip install --force-reinstall {wheel}")


def _open_files() -> Check:
    if sys.platform == "win32":
        return Check(name="open files", found="not limited")
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = soft == resource.RLIM_INFINITY or soft >= MIN_OPEN_FILES
    return Check(name="open files", found=f"{soft} of {hard}", fix="" if enough else f"ulimit -n {MIN_OPEN_FILES}")


def _shared_memory() -> Check:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Check(name="shared memory", found="no /dev/shm")
    total = shutil.disk_usage(folder).total
    fix = "" if total >= MIN_SHARED_BYTES else "mount -o remount,size=2g /dev/shm  # docker run --shm-size=2g"
    return Check(name="shared memory", found=f"{total / 1e9:.1f} GB", fix=fix)


def check_disk(out: Path) -> Check:
    """Whether the disk that `out` is, or will be, on can be written to and has room for ImageNet."""
    elsewhere = "choose another folder with --out"
    try:
        free = free_bytes(out)
    except OSError as error:
        return Check(name="disk", found=f"{out}: {error.strerror}", fix=elsewhere)
    if not os.access(existing_part(out), os.W_OK):
        return Check(name="disk", found=f"{existing_part(out)}: no permission to write, or read-only", fix=elsewhere)
    found = f"{free / 1e9:.1f} GB free for {out}"
    fix = f"make room, or choose a larger disk with --out: ImageNet needs {MIN_DISK_BYTES / 1e9:.0f} GB"
    return Check(name="disk", found=found, fix="" if free >= MIN_DISK_BYTES else fix)
