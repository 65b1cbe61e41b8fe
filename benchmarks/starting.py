"""How long until something happens? Imports, commands and the first training step, in fresh processes by turns.

    python benchmarks/starting.py [--turns 5] [--fresh]

The control of an import is `import torch` alone; our part is the difference of the medians, paid once per process. A
command is timed from its start to its first line on stdout or stderr. The first step is the second half of its process:
from the moment torch is imported to the end of one update, with DALI, Numba, the network's weights and the first batch
in between. `--fresh` also measures it with an empty cache, as on a new machine or in a new container, where the loops
are compiled first.

If other programs are running, compare the CPU seconds. Those of the main thread cannot be moved to a second core, so
they are a lower bound for the wall-clock time of the first step.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONTROL = "import torch"
IMPORTS = {
    "import torch": CONTROL,
    "from alexkit.pipeline import Loader": f"{CONTROL}\nfrom alexkit.pipeline import Loader",
    "from alexkit.model import Trainer": f"{CONTROL}\nfrom alexkit.model import Trainer",
}
VERBS = {
    "alexprep --help": "prep --help",
    "alexprep verify": "prep verify SHARDS",
    "alexprep pca": "prep pca SHARDS",
    "alexprep inspect": "prep inspect SHARDS --quick",
    "alexprep shard": "prep shard IMAGES --out OUT",
    "alextrain recipes": "train recipes",
}
FIRST_STEP = """
import json, sys, time, torch
begun, used, used_here = time.perf_counter(), time.process_time(), time.thread_time()
from pathlib import Path
from alexkit.model import Trainer
from alexkit.model.runs.load import load_recipe
recipe = load_recipe("quick", ["training.batch_size=8"])
trainer = Trainer(recipe, Path(sys.argv[1]), Path(sys.argv[2]), device="cpu")
trainer.learner.train_step(next(iter(trainer.loader)), 1e-9)
print(json.dumps([time.perf_counter() - begun, time.process_time() - used, time.thread_time() - used_here]))
"""


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall-clock and CPU seconds of a whole process."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def first_line(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall-clock seconds until a command has written a line, and CPU seconds until it has exited."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    process.stdout.readline()
    seconds = time.perf_counter() - begun
    process.stdout.read()
    if process.wait():
        raise SystemExit(f"{' '.join(command)} failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def first_step(shards: Path, scratch: Path, environment: dict[str, str]) -> dict[str, tuple[float, float]]:
    """Wall-clock and CPU seconds from the import of torch to the end of the first update."""
    run = tempfile.mkdtemp(dir=scratch)
    command = [sys.executable, "-c", FIRST_STEP, str(shards), f"{run}/run"]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    seconds, used, used_by_main = json.loads(output.splitlines()[-1])
    return {"first step": (seconds, used), "first step, main thread": (used_by_main, used_by_main)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--fresh", action="store_true", help="also the first step with an empty cache")
    parser.add_argument("--no-warm-up", action="store_true", help="also count the first turn, which fills caches")
    arguments = parser.parse_args()
    kit = [sys.executable, "-m", "alexkit"]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        images, shards = scratch / "images", scratch / "shards"
        subprocess.run([*kit, "prep", "demo-images", str(images), "--train", "40", "--val", "20", "-q"], check=True)
        subprocess.run(
            [*kit, "prep", "shard", str(images), "--out", str(shards), "-q"], check=True, capture_output=True
        )
        environment = dict(os.environ)
        found: dict[str, list[tuple[float, float]]] = {}
        for turn in range(arguments.turns + (not arguments.no_warm_up)):  # the first fills caches and is not counted
            row: dict[str, tuple[float, float]] = {}
            for title, code in IMPORTS.items():
                row[title] = timed([sys.executable, "-c", code], environment)
            for title, words in VERBS.items():
                places = {"SHARDS": str(shards), "IMAGES": str(images), "OUT": tempfile.mkdtemp(dir=scratch)}
                row[title] = first_line([*kit, *(places.get(word, word) for word in words.split())], environment)
            row |= first_step(shards, scratch, environment)
            if arguments.fresh:
                empty = {**environment, "NUMBA_CACHE_DIR": tempfile.mkdtemp(dir=scratch)}
                row["first step, empty cache"] = first_step(shards, scratch, empty)["first step"]
            if turn or arguments.no_warm_up:
                for title, measured in row.items():
                    found.setdefault(title, []).append(measured)
    median = {
        title: (statistics.median(wall for wall, _ in rows), statistics.median(used for _, used in rows))
        for title, rows in found.items()
    }
    control = median["import torch"]
    print(f"{'':38}  seconds  processor's s  beside torch (processor's)")
    for title, (wall, used) in median.items():
        beside = f"{wall - control[0]:12.2f} ({used - control[1]:.2f})" if title in IMPORTS else ""
        print(f"{title:38} {wall:8.2f} {used:14.2f}  {beside}")


if __name__ == "__main__":
    main()
