"""Does training in bfloat16 follow the curve of float32? Several seeds of each, by turns, and both curves in one chart.

    python benchmarks/training/precisions.py CIFAR10 [--recipe cifar10-19] [--epochs 8] [--seeds 3] [--work DIR]

CIFAR10 is a folder of class folders, `train/` and `test/`, which is sharded once into `--work`, where the runs are too:
the same command continues after an interruption, and draws again what is there. A seed draws the same weights and the
same batches in both precisions, so differences are taken seed by seed, with Student's 95 % interval. Writes
`precisions.png` into `--work` by `alexeval curves`, and prints the mean training loss and the test error of the epochs.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from alexkit.model.runs.log import read_log
from alexkit.model.runs.run import LOG

PRECISIONS = ("fp32", "bf16")
# Student's t for 95 %, by the number of differences.
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}


def kit(*words: str) -> None:
    """A command of alexkit; its progress stays on the screen."""
    subprocess.run([sys.executable, "-m", "alexkit", *words], check=True)


def train(shards: Path, runs: Path, precision: str, seed: int, options: argparse.Namespace) -> Path:
    """Train a run to its end, or find it finished."""
    name = f"{precision}-{seed}"
    changes = [f"training.precision={precision}", f"training.seed={seed}", f"training.epochs={options.epochs}"]
    changes += options.set
    words = [word for change in changes for word in ("--set", change)]
    kit("train", "--shards", str(shards), "--runs", str(runs), "--recipe", options.recipe, "--name", name, *words)
    return runs / name


def by_epoch(run: Path, epochs: int) -> list[tuple[float, float | None]]:
    """Mean training loss and validation error, 0-1, of every epoch; None where nothing is validated."""
    lines = read_log(run / LOG)
    train_lines = [line for line in lines if line["kind"] == "train"]
    errors = {int(line["epoch"]): line["top1_error"] for line in lines if line["kind"] == "val"}
    last, found = max(line["step"] for line in train_lines), []
    for epoch in range(1, epochs + 1):
        steps = range(last * (epoch - 1) // epochs, last * epoch // epochs)
        losses = [line["loss"] for line in train_lines if line["step"] - 1 in steps]
        found.append((statistics.mean(losses) if losses else float("nan"), errors.get(epoch)))
    return found


def interval(differences: list[float]) -> str:
    """Mean of differences with the half width of its 95 % interval."""
    mean = statistics.mean(differences)
    if len(differences) not in T95:
        return f"{mean:+.4f}"
    return f"{mean:+.4f} ± {T95[len(differences)] * statistics.stdev(differences) / len(differences) ** 0.5:.4f}"


def show(found: dict[str, list[list[tuple[float, float | None]]]], epochs: int) -> None:
    """The table: means over seeds, and the differences by seed."""
    print(f"{'':7}training loss                        difference          test error, %")
    print(f"{'epoch':7}fp32     bf16                     bf16 - fp32         fp32     bf16     difference")
    for epoch in range(epochs):
        loss = {name: [run[epoch][0] for run in runs] for name, runs in found.items()}
        error = {name: [run[epoch][1] for run in runs] for name, runs in found.items()}
        apart = interval([b - a for a, b in zip(loss["fp32"], loss["bf16"], strict=True)])
        row = f"{epoch + 1:<7}{statistics.mean(loss['fp32']):<9.4f}{statistics.mean(loss['bf16']):<25.4f}{apart:20}"
        pairs = [(a, b) for a, b in zip(error["fp32"], error["bf16"], strict=True) if a is not None and b is not None]
        if pairs:
            row += (
                f"{100 * statistics.mean(a for a, _ in pairs):<9.2f}{100 * statistics.mean(b for _, b in pairs):<9.2f}"
            )
            row += interval([100 * (b - a) for a, b in pairs])
        print(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar10", type=Path)
    parser.add_argument("--recipe", default="cifar10-19")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="further changes of the recipe")
    parser.add_argument("--work", type=Path, help="kept between commands; temporary without")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        shards, runs = work / "shards", work / "runs"
        kit("prep", "shard", str(options.cifar10), "--out", str(shards), "--size", "32", "--format", "raw", "-q")
        found: dict[str, list[list[tuple[float, float | None]]]] = {name: [] for name in PRECISIONS}
        folders = []
        for seed in range(options.seeds):
            for precision in PRECISIONS:
                folder = train(shards, runs, precision, seed, options)
                folders.append(str(folder))
                found[precision].append(by_epoch(folder, options.epochs))
        kit("eval", "curves", *sorted(folders), "--out", str(work / "precisions.png"))
        show(found, options.epochs)


if __name__ == "__main__":
    main()
