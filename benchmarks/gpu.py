"""All GPU measurements in one command: a table and a file of numbers.

    python benchmarks/gpu.py [--minutes 8] [--photos PHOTOS] [--batch 256] [--out benchmarks] [--rehearse] [--rows A,B]

Loading from JPEG and raw shards against bare DALI and against decoding on the CPU; the training step in fp32, TF32 and
bf16 against plain PyTorch in bf16 (channels last, torch's LocalResponseNorm), also under torch.compile; ours in bf16
also compiled, from a CUDA graph, with its result read at once and without Triton's kernels; how much of loading
overlaps with the step; columns on one GPU and, if there are two, on two; peak memory; the laws of the GPU tests. Each
row runs in its own process (`gpu_rows.py`), so a row that fails is a line in the table and does not stop the others.
Writes `gpu-NAME.json` and `gpu-NAME.md`, where NAME is that of the GPU, anew after every row, so that a run that is
stopped leaves what it measured. The JSON also has what rows, and tests that failed, printed.

`--rehearse` runs every row on the CPU with minimal work: it measures nothing, and finds the errors a CPU can find.
Without `--photos`, synthetic images replace photographs, which makes decoding look cheaper than it is. Without DALI,
`--rows` can name the steps on a constant batch.
"""

import argparse
import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import gpu_rows
import torch

from alexkit.cores import num_cores

IMAGENET_IMAGES, EPOCHS = 1_281_167, 90
TESTS = Path(__file__).parent.parent / "tests"
LAWS = ("tests/pipeline/test_gpu.py", "tests/model/gpu/test_on_gpu.py")
LAWS_LIMIT_S = 300.0
KEPT_CHARACTERS = 20_000
"""Of what a row prints besides its numbers, and of tests that fail."""
WITHOUT_KERNELS = "Triton's kernels do not run"
"""In the warning of `model/gpu/available.py`."""
RATIOS = (
    ("Loader on the device to bare DALI, JPEG", "load-jpeg", "load-jpeg-bare"),
    ("Loader with the JPEG unit to bare DALI, JPEG", "load-jpeg-unit", "load-jpeg-bare"),
    ("Loader on the device to the CPU, JPEG", "load-jpeg", "load-jpeg-cpu"),
    ("Loader on the device to bare DALI, raw", "load-raw", "load-raw-bare"),
    ("step in bf16 to plain PyTorch", "step-bf16", "step-plain"),
    ("step in bf16 to plain PyTorch under torch.compile", "step-bf16", "step-plain-compiled"),
    ("step in bf16 under torch.compile to without", "step-bf16-compiled", "step-bf16"),
    ("step in bf16 from a CUDA graph to without", "step-bf16-graph", "step-bf16"),
    ("step in bf16 to one whose result is read at once", "step-bf16", "step-bf16-at-once"),
    # Without the kernels the host waits in the update, so the overlap is lost too.
    ("Triton's kernels to torch's operations, both read at once", "step-bf16-at-once", "step-bf16-no-kernels"),
    ("loading hidden, JPEG (goal 0.97)", "train-jpeg", "step-bf16"),
    ("loading hidden, raw (goal 0.97)", "train-raw", "step-bf16"),
    ("a card per column to one card", "columns-2", "step-bf16"),
)


def prepare(work: Path, photos: Path | None, num_samples: int) -> None:
    """Shards of 256 px, as JPEG and as raw pixels."""
    import loader  # needs DALI

    if photos is None:
        photos = work / "images"
        kit = [
            sys.executable,
            "-m",
            "alexkit",
            "prep",
            "demo-images",
            str(photos),
            "--train",
            "60",
            "--val",
            "20",
            "-q",
        ]
        subprocess.run(kit, check=True, stdout=subprocess.DEVNULL)
    for format in ("jpeg", "raw"):
        (work / format).mkdir()
        (work / format / "train").mkdir()
        loader.write_shards(photos, work / format / "train", format, num_samples)


def run_row(name: str, arguments: argparse.Namespace, work: Path, device: str, seconds: float) -> dict[str, Any]:
    """Run one row in fresh processes and return its numbers, or the reason why there are none."""
    processes = 2 if name == "columns-2" else 1
    if device == "cpu" and processes == 1:
        return rehearsed(
            name, gpu_rows.Settings(work=work, device=torch.device(device), batch=arguments.batch, seconds=0)
        )
    if processes > 1 and device != "cpu" and torch.cuda.device_count() < processes:
        return {"skipped": f"needs {processes} cards"}
    command = [sys.executable, str(Path(__file__).parent / "gpu_rows.py"), name, "--work", str(work)]
    command += ["--batch", str(arguments.batch), "--seconds", str(seconds)]
    environment = dict(os.environ)
    if processes > 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(processes)}
    running = [
        subprocess.Popen(
            [*command, "--device", device if device == "cpu" else f"cuda:{rank}"],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    limit = arguments.row_limit
    try:
        outputs = [process.communicate(timeout=limit) for process in running]
    except subprocess.TimeoutExpired as error:
        return {"failed": f"took more than {limit:.0f} s", "output": kept(error.stderr)}
    finally:
        for process in running:
            process.kill()
    for process, (_, errors) in zip(running, outputs, strict=True):
        if process.returncode:
            return {"failed": (errors.strip().splitlines() or ["no message"])[-1], "output": kept(errors)}
    found = [json.loads(output.splitlines()[-1]) for output, _ in outputs]
    slowest: dict[str, Any] = min(found, key=lambda row: row["images_per_s"])
    words = "".join(errors for _, errors in outputs)
    return {**slowest, "output": kept(words)} if words.strip() else slowest


def kept(output: str | bytes | None) -> str:
    """The end of an output, which for a process that was stopped may be bytes."""
    text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
    return text[-KEPT_CHARACTERS:]


def rehearsed(name: str, settings: gpu_rows.Settings) -> dict[str, Any]:
    """Run one row in a fork of this process, since imports would take most of a row's time.

    The row of the columns starts its processes as on a GPU.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send_row, args=(name, settings, sender))
    process.start()
    sender.close()
    try:
        found: dict[str, Any] = receiver.recv()
    except EOFError:
        found = {"failed": "the process ended without a word"}
    process.join()
    return found


def send_row(name: str, settings: gpu_rows.Settings, sender: Any) -> None:
    """A row's numbers, or the last line of its error."""
    try:
        sender.send(gpu_rows.ROWS[name][1](settings))
    except BaseException as error:
        traceback.print_exc()
        sender.send({"failed": (str(error).strip().splitlines() or [type(error).__name__])[-1]})


def laws() -> dict[str, Any]:
    """Run the tests that a GPU must pass."""
    files = [str(TESTS.parent / name) for name in LAWS]
    options = ["-q", "-p", "no:cacheprovider", "--continue-on-collection-errors"]  # those of the loader need DALI
    command = [sys.executable, "-m", "pytest", *options, *files]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parent, timeout=LAWS_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        return {"passed": False, "summary": f"took more than {LAWS_LIMIT_S:.0f} s", "output": kept(error.stdout)}
    last = ((done.stdout.strip() or done.stderr.strip()).splitlines() or ["no output"])[-1]
    found = {"passed": done.returncode == 0, "summary": last}
    return found if done.returncode == 0 else {**found, "output": kept(done.stdout + done.stderr)}


def table(result: dict[str, Any]) -> str:
    """Return the numbers as Markdown."""
    lines = [f"{result['card']}, torch {result['torch']}, batch {result['batch']}, {result['cores']} cores", ""]
    lines += ["| row | images/s | core-µs/image | peak memory, MB | hours for 90 epochs |", "|---|---|---|---|---|"]
    for name, row in result["rows"].items():
        title = gpu_rows.ROWS[name][0]
        if WITHOUT_KERNELS in row.get("output", ""):
            title += " (Triton's kernels did not run)"
        if "images_per_s" not in row:
            why = next(f"{word}: {text}" for word, text in row.items())
            lines.append(f"| {title} | {why.replace('|', '/')} | | | |")
            continue
        rate = row["images_per_s"]
        cost = f"{row['core_us_per_image']:.0f}" if "core_us_per_image" in row else ""
        peak = f"{row['peak_bytes'] / 1e6:.0f}" if row.get("peak_bytes") else ""
        hours = f"{IMAGENET_IMAGES * EPOCHS / rate / 3600:.1f}" if name.startswith(("step", "train", "col")) else ""
        lines.append(f"| {title} | {rate:.0f} | {cost} | {peak} | {hours} |")
    lines += ["", "| ratio | |", "|---|---|"]
    for title, above, below in RATIOS:
        rates = [result["rows"].get(name, {}).get("images_per_s") for name in (above, below)]
        lines.append(f"| {title} | {rates[0] / rates[1]:.2f} |" if all(rates) else f"| {title} | not measured |")
    return "\n".join([*lines, "", f"laws: {result['laws']['summary']}", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="for all rows; rows without time left are skipped")
    parser.add_argument("--photos", type=Path, help="a folder of photographs")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--samples", type=int, default=4096, help="images of a set")
    parser.add_argument("--rows", help="comma-separated subset of " + ", ".join(gpu_rows.ROWS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--row-limit", type=float, default=180.0, help="seconds after which a row is aborted")
    arguments = parser.parse_args()
    if not arguments.rehearse and not torch.cuda.is_available():
        raise SystemExit("no GPU here; --rehearse runs every row on the CPU")
    if arguments.rehearse:
        arguments.batch, arguments.samples, arguments.row_limit = 2, 16, 600.0
    device = "cpu" if arguments.rehearse else "cuda:0"
    names = arguments.rows.split(",") if arguments.rows else list(gpu_rows.ROWS)
    # Start-up takes about half of a row's time: imports, CUDA, the first steps.
    seconds = 0.01 if arguments.rehearse else arguments.minutes * 60 * 0.4 / len(names)
    begun = time.monotonic()
    rows: dict[str, Any] = {}
    card = "rehearsal" if arguments.rehearse else torch.cuda.get_device_name(0)
    result = {
        "card": card,
        "torch": torch.__version__,
        "batch": arguments.batch,
        "cores": num_cores(),
        "rows": rows,
        "laws": {"passed": False, "summary": "not run yet"},
    }
    stem = "gpu-" + re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-")

    def write() -> None:
        (arguments.out / f"{stem}.json").write_text(json.dumps(result, indent=1) + "\n")
        (arguments.out / f"{stem}.md").write_text(table(result))

    with tempfile.TemporaryDirectory() as folder:
        if any(name.startswith(("load", "train")) for name in names):
            prepare(Path(folder), arguments.photos, arguments.samples)
        for name in names:
            if not arguments.rehearse and time.monotonic() - begun > arguments.minutes * 60:
                rows[name] = {"skipped": "no time left"}
                continue
            rows[name] = run_row(name, arguments, Path(folder), device, seconds)
            shown = {word: value for word, value in rows[name].items() if word != "output"}
            print(f"{name}: {shown}", file=sys.stderr, flush=True)
            write()
    result["laws"] = laws()
    write()
    print(table(result))
    if any("failed" in row for row in rows.values()) or not result["laws"]["passed"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
