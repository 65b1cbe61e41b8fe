"""Is this machine fit for the work? Each check looks, says what it found, and where something is wrong how to mend it.

Nothing here needs a GPU, DALI or torch to be installed; what is missing is reported.
"""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ..format.files import free_bytes

LIBRARIES = ("numpy", "numba", "pillow", "simplejpeg", "opencv-python-headless", "torch")
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
    """One line of the report; `mend` is the exact thing to do, empty when all is well."""

    name: str
    found: str
    mend: str = ""


def examine(out: Path) -> list[Check]:
    """All checks; `out` is where shards would go."""
    checks = [_python(), *map(check_library, needed_libraries()), check_driver(), *_dali()]
    return [*checks, _open_files(), _shared_memory(), check_disk(out)]


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.platform(terse=True)}, {os.cpu_count()} cores"
    return Check(name="Python", found=found, mend="" if sys.version_info >= (3, 11) else "install Python 3.11 or newer")


def needed_libraries() -> tuple[str, ...]:
    """The distributions that a machine like this one needs, DALI apart."""
    # As in pyproject.toml: without it `--filter area` resizes.
    return LIBRARIES if platform.machine() == "aarch64" else (*LIBRARIES, "cykooz-resizer")


def check_library(distribution: str) -> Check:
    """Whether a distribution is installed, and which version."""
    try:
        return Check(name=distribution, found=importlib.metadata.version(distribution))
    except importlib.metadata.PackageNotFoundError:
        return Check(name=distribution, found="not installed", mend=f"pip install {distribution}")


def check_driver() -> Check:
    """What nvidia-smi says, if there is one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return Check(name="GPU", found="no NVIDIA driver; everything runs on the CPU")
    query = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired:
        return Check(name="GPU", found="nvidia-smi does not answer", mend="restart the NVIDIA driver, or the machine")
    if answer.returncode != 0:
        words = " ".join((answer.stderr or answer.stdout).split())[:120]
        return Check(name="GPU", found=f"nvidia-smi fails: {words}", mend="reinstall the NVIDIA driver, then restart")
    return Check(name="GPU", found="; ".join(answer.stdout.split("\n")).strip("; "))


def _dali() -> list[Check]:
    wheels = [
        f"{name} {distribution.version}"
        for distribution in importlib.metadata.distributions()
        if (name := distribution.name.lower()).startswith(("nvidia-dali", "nvidia-nvimgcodec"))
    ]
    dali = [wheel for wheel in wheels if wheel.startswith("nvidia-dali")]
    if not dali:
        mend = (
            "pip install nvidia-dali-cuda120" if sys.platform == "linux" else "train on Linux: DALI exists only there"
        )
        return [Check(name="DALI", found="not installed", mend=mend)]
    if len(dali) > 1:
        surplus = " ".join(wheel.split()[0] for wheel in dali[1:])
        return [
            Check(name="DALI", found=", ".join(dali), mend=f"pip uninstall {surplus}  # two wheels share one module")
        ]
    checks = [Check(name="DALI", found=", ".join(sorted(wheels))), _decodes("DALI decodes on the CPU", "None")]
    if shutil.which("nvidia-smi"):
        checks.append(_decodes("DALI decodes on the GPU", "0"))
    return checks


def _decodes(name: str, device: str) -> Check:
    """Decode one JPEG in a process of its own, since a broken driver can take the process with it."""
    code = DALI_DECODE.replace("DEVICE", device)
    try:
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return Check(name=name, found="no answer in 120 s", mend="restart the machine; then run alexprep doctor again")
    if answer.returncode == 0:
        return Check(name=name, found="yes")
    last = (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1][:160]
    return Check(name=name, found=f"no: {last}", mend="pip install --force-reinstall nvidia-dali-cuda120")


def _open_files() -> Check:
    if sys.platform == "win32":
        return Check(name="open files", found="no such limit")
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = soft == resource.RLIM_INFINITY or soft >= MIN_OPEN_FILES
    return Check(name="open files", found=f"{soft} of {hard}", mend="" if enough else f"ulimit -n {MIN_OPEN_FILES}")


def _shared_memory() -> Check:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Check(name="shared memory", found="no /dev/shm here")
    total = shutil.disk_usage(folder).total
    mend = "" if total >= MIN_SHARED_BYTES else "mount -o remount,size=2g /dev/shm  # docker run --shm-size=2g"
    return Check(name="shared memory", found=f"{total / 1e9:.1f} GB", mend=mend)


def check_disk(out: Path) -> Check:
    """Whether ImageNet would fit where `out` is or will be."""
    free = free_bytes(out)
    found = f"{free / 1e9:.1f} GB free for {out}"
    mend = f"make room, or name a larger disk with --out: ImageNet needs {MIN_DISK_BYTES / 1e9:.0f} GB"
    return Check(name="disk", found=found, mend="" if free >= MIN_DISK_BYTES else mend)
