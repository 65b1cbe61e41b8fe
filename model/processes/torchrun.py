"""Ends a torchrun that would wait forever for a host that cannot be reached any more.

torchrun asks the store of the first host again and again. When the network to it breaks, PyTorch's `TCPStore` gives up
a question after its time, but then waits without a limit for the answer to "give up". So a process that has lost the
others, and says so, leaves a watcher behind that ends its torchrun if that has not ended by itself.
"""

import os
import subprocess
import sys
from pathlib import Path

GRACE_S = 20.0  # for torchrun to see that its process ended, and to end the others of its host

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
    """Have the torchrun that started this process, if one did, ended in `grace_s` seconds unless it has by then."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or not Path("/proc/self/stat").exists():
        return
    parent = os.getppid()
    try:
        # The process's start time tells it from a later one of the same number.
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
