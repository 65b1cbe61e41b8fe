"""End a torchrun that would wait forever for a host that is no longer reachable.

torchrun polls the store on the first host. When the connection breaks, PyTorch's `TCPStore` cancels a request after its
timeout, but then waits without limit for the answer to the cancellation. So a process that has lost the others starts a
watcher, which kills its torchrun if that has not exited on its own.
"""

import os
import subprocess
import sys
from pathlib import Path

GRACE_S = 20.0  # for torchrun to notice that its process exited and to end the others on its host

_WATCHER = """
import os, pathlib, signal, sys, time
process, born, grace_s = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
time.sleep(grace_s)
try:
    if pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19] == born:
        os.kill(process, signal.SIGKILL)
except OSError:
    pass
"""


def end_torchrun_later(grace_s: float = GRACE_S) -> None:
    """Kill the torchrun that started this process, if any, in `grace_s` seconds unless it has exited by then."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or not Path("/proc/self/stat").exists():
        return
    parent = os.getppid()
    try:
        # The start time distinguishes the process from a later one with the same pid.
        born = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return
    subprocess.Popen(
        [sys.executable, "-c", _WATCHER, str(parent), born, str(grace_s)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
