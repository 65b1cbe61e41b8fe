"""Does training in bfloat16 follow the curve of float32? Several seeds of each, by turns, and both curves in one chart.

    python benchmarks/training/precisions.py CIFAR10 [--recipe cifar10-19] [--epochs 8] [--seeds 3] [--work DIR]

CIFAR10 is a folder with `train/` and `test/`, each of class folders. It is sharded once into `--work`, which also holds
the runs, so the same command resumes after an interruption and redraws the results so far. A seed gives the same
weights and batches in both precisions, so differences are taken seed by seed, with Student's 95 % interval. Writes
`precisions.png` to `--work` with `alexeval curves`, and prints the mean training loss and the test error by epoch.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from alexkit.model.evaluation.report.effects import Estimate
from alexkit.model.evaluation.report.run_records import RunRecord, read_record

PRECISIONS = ("fp32", "bf16")


def kit(*words: str) -> None:
    """A command of alexkit; its progress stays on the screen."""
    subprocess.run([sys.executable, "-m", "alexkit", *words], check=True)


def train(shards: Path, runs: Path, precision: str, seed: int, options: argparse.Namespace) -> Path:
    """Train a run to its end, unless it is finished."""
    name = f"{precision}-{seed}"
    changes = [f"training.precision={precision}", f"training.seed={seed}", f"training.epochs={options.epochs}"]
    changes += options.set
    words = [word for change in changes for word in ("--set", change)]
    kit("train", "--shards", str(shards), "--runs", str(runs), "--recipe", options.recipe, "--name", name, *words)
    return runs / name


def apart(pairs: list[tuple[float, float]], scale: float, digits: int) -> str:
    """The mean over seeds of second minus first, with the half width of its 95 % interval."""
    found = Estimate.of([scale * (second - first) for first, second in pairs], images=0)
    return f"{found.value:+.{digits}f} ± {found.half:.{digits}f}"


def show(found: dict[str, list[RunRecord]]) -> None:
    """The table: means over seeds, and the differences by seed."""
    print(f"{'':7}training loss                        difference          test error, %")
    print(f"{'epoch':7}fp32     bf16                     bf16 - fp32         fp32     bf16     difference")
    for seeds in zip(*(zip(*(run.epochs for run in runs), strict=True) for runs in found.values()), strict=True):
        fp32, bf16 = seeds
        losses = [(one.train_loss, other.train_loss) for one, other in zip(fp32, bf16, strict=True)]
        means = [statistics.mean(values) for values in zip(*losses, strict=True)]
        row = f"{fp32[0].epoch:<7}{means[0]:<9.4f}{means[1]:<25.4f}{apart(losses, 1, 4):20}"
        errors = [
            (one.val_error, other.val_error)
            for one, other in zip(fp32, bf16, strict=True)
            if one.val_error is not None and other.val_error is not None
        ]
        if errors:
            means = [100 * statistics.mean(values) for values in zip(*errors, strict=True)]
            row += f"{means[0]:<9.2f}{means[1]:<9.2f}{apart(errors, 100, 2)}"
        print(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar10", type=Path)
    parser.add_argument("--recipe", default="cifar10-19")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="further changes to the recipe")
    parser.add_argument("--work", type=Path, help="kept between commands (default: temporary)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        shards, runs = work / "shards", work / "runs"
        kit("prep", "shard", str(options.cifar10), "--out", str(shards), "--size", "32", "--format", "raw", "-q")
        found: dict[str, list[RunRecord]] = {name: [] for name in PRECISIONS}
        folders = []
        for seed in range(options.seeds):
            for precision in PRECISIONS:
                folder = train(shards, runs, precision, seed, options)
                folders.append(str(folder))
                found[precision].append(read_record(folder))
        kit("eval", "curves", *sorted(folders), "--out", str(work / "precisions.png"))
        show(found)


if __name__ == "__main__":
    main()
