"""Run by several processes: trains a small two-column network for some steps and writes the results.

Not a test itself; see the fixture `start_script`.
"""

import json
import os
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from alexkit.model.network.precision import LossScale, choose_precision
from alexkit.model.network.wiring import Activation, Conv, Dropout, Linear, Norm, Pool, Wiring
from alexkit.model.processes.layout import make_layout
from alexkit.model.runs.recipe import Recipe, Training
from alexkit.model.training.learner import Learner
from alexkit.model.training.step import PendingStep, PendingSteps
from alexkit.pipeline import Batch

BATCH_SIZE = 8
ACT, NORM, POOL = Activation(), Norm(), Pool()
WIRING = Wiring(
    layers=(
        Conv(name="conv1", filters=12, kernel=5, stride=2, reads="image", std=0.05, then=(ACT, NORM, POOL)),
        Conv(name="conv2", filters=16, kernel=3, pad=1, reads="own column", std=0.1, bias=1, then=(ACT, NORM, POOL)),
        Conv(name="conv3", filters=12, kernel=3, pad=1, reads="both columns", std=0.1, then=(ACT,)),
        Conv(name="conv4", filters=12, kernel=3, pad=1, reads="own column", std=0.1, bias=1, then=(ACT, POOL)),
        Linear(name="fc6", units=20, reads="both columns", std=0.1, bias=1, then=(ACT, Dropout())),
        Linear(name="fc7", units=20, reads="both columns", std=0.1, bias=1, then=(ACT, Dropout())),
        Linear(name="fc8", units=None, reads="both columns", std=0.1),
    ),
    columns=2,
    input_px=31,
    margin_px=4,
)
NUM_CLASSES = 5  # not divisible by two columns
SHORT_STEP = 7  # one image, as in the last batch of an epoch: one of two replicas gets none


def batch(step: int, replica: int, num_replicas: int) -> Batch:
    """This replica's interleaved local batch of the global batch that all layouts see at this step."""
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(BATCH_SIZE, 3, 31, 31, generator=generator) * 60
    labels = torch.randint(0, NUM_CLASSES, (BATCH_SIZE,), generator=generator)
    images += 20 * labels[:, None, None, None]
    indices = torch.randperm(1000, generator=generator)[:BATCH_SIZE]
    mine = slice(replica, None, num_replicas)
    return Batch(
        images=images[mine],
        labels=labels[mine],
        indices=indices[mine],
        mask=torch.arange(replica, BATCH_SIZE, num_replicas) < (BATCH_SIZE if step != SHORT_STEP else 1),
        keys=[f"sample-{i}" for i in indices[mine].tolist()],
    )


def main(
    folder: Path,
    processes_per_replica: int,
    steps: int,
    start: Path | None,
    die: str,
    hang: str,
    bad: str,
    precision: str,
    scale: float,
    late: int,
) -> None:
    """`die`, `hang` and `bad` are "RANK-STEP": where a process exits, hangs or gets a non-finite value.

    `scale`: the initial loss scale in float16. `late`: by how many steps results are read late.
    """
    torch.set_num_threads(1)
    device = torch.device("cpu")
    layout = make_layout(2, processes_per_replica, device)
    recipe = Recipe(training=Training(batch_size=BATCH_SIZE, rate=0.01))
    dtype = choose_precision(precision, device)
    learner = Learner(recipe, WIRING, NUM_CLASSES, layout=layout, device=device, precision=dtype)
    if precision == "fp16":
        learner.scale = LossScale(factor=scale)
    if start:
        learner.load(load_file(f"{start}/weights"), load_file(f"{start}/momentum"))
        learner.step = int(Path(f"{start}/step").read_text())
    results, pending = [], PendingSteps(late)

    def read(begun: list[PendingStep]) -> None:
        for result in (step.result() for step in begun):
            sent = layout.columns.bytes_sent
            results.append([result.loss, result.gradient_norm, result.wrong, result.images, sent, learner.scale.factor])

    with layout.contact():
        for step in range(learner.step, steps):
            if die == f"{layout.rank}-{step}":
                os._exit(7)
            if hang == f"{layout.rank}-{step}":
                time.sleep(600)
            mine = batch(step, layout.replica, layout.num_replicas)
            if bad == f"{layout.rank}-{step}":
                mine.images[0, 0, 0, 0] = float("nan")
            read(pending.add(learner.begin_step(mine, 0.01, num_images=1 if step == SHORT_STEP else None)))
        read(pending.rest())
    gradients = {name: parameter.grad for name, parameter in learner.network.named_parameters()}
    whole_gradients = layout.whole(((name, x) for name, x in gradients.items() if x is not None), learner.whole_sizes())
    weights, momentum = learner.whole_weights(), learner.whole_momentum()
    if layout.rank == 0:
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(results))
        (folder / "step").write_text(str(steps))
        for name, tensors in (("gradients", whole_gradients), ("weights", weights), ("momentum", momentum)):
            save_file({key: x.contiguous() for key, x in tensors.items()}, folder / name)
    layout.close()


if __name__ == "__main__":
    os.dup2(os.open(globals()["STDERR"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.stderr.fileno())
    os.environ.update(globals()["ENVIRONMENT"])
    main(**globals()["ARGUMENTS"])
