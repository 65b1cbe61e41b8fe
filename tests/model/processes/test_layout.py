"""The proof that layouts do not matter: one process, two columns, two replicas, and two replicas of two columns."""

import json
from collections.abc import Callable
from itertools import pairwise
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from alexkit.model.processes import layout as layout_module
from alexkit.model.processes.launch import _free_port
from alexkit.model.processes.layout import ProcessLayout, check_processes, require_own_cards

SCRIPT = Path(__file__).with_name("column_script.py")
STEPS = 20
Run = Callable[..., list[tuple[int | None, str]]]
LAYOUTS = {"one": (1, 1), "columns": (2, 2), "replicas": (2, 1), "both": (4, 2)}  # processes, and those per replica


@pytest.fixture(scope="module")
def run(start_script: Callable[..., BaseProcess], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`run(folder, processes, per_replica)` trains in so many; status and stderr of each, but of one that hangs."""

    def run(
        folder: Path,
        processes: int,
        per_replica: int,
        *,
        steps: int = STEPS,
        start: Path | None = None,
        die: str = "",
        hang: str = "",
        bad: str = "",
        precision: str = "fp32",
        scale: float = 1.0,
        late: int = 0,
    ) -> list[tuple[int | None, str]]:
        errors = tmp_path_factory.mktemp("stderr")
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(processes)}
        started = [
            start_script(
                SCRIPT,
                stderr=errors / str(rank),
                environment={**common, "RANK": str(rank), "ALEXKIT_TIMEOUT_S": "10"},
                folder=folder,
                processes_per_replica=per_replica,
                steps=steps,
                start=start,
                die=die,
                hang=hang,
                bad=bad,
                precision=precision,
                scale=scale,
                late=late,
            )
            for rank in range(processes)
        ]
        hung = started.pop(int(hang.partition("-")[0])) if hang else None
        for process in started:
            process.join()
        if hung:
            hung.kill()
            hung.join()
        return [(process.exitcode, (errors / str(rank)).read_text()) for rank, process in enumerate(started)]

    return run


@pytest.fixture(scope="module")
def trained(run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every layout's folder after the same twenty steps."""
    folders = {}
    for name, (processes, per_replica) in LAYOUTS.items():
        folders[name] = tmp_path_factory.mktemp("layouts") / name
        for status, words in run(folders[name], processes, per_replica):
            assert status == 0, words
    return folders


@pytest.mark.parametrize("name", ["columns", "replicas", "both"])
def test_every_layout_has_the_losses_gradients_and_weights_of_one_process(trained: dict[str, Path], name: str) -> None:
    one, other = (json.loads((trained[key] / "results.json").read_text()) for key in ("one", name))
    assert len(one) == STEPS and {row[3] for row in one} == {8, 1}  # a short batch is among them
    for (loss, norm, wrong, images, *_), (own_loss, own_norm, own_wrong, own_images, *_) in zip(
        one, other, strict=True
    ):
        assert own_loss == pytest.approx(loss, rel=1e-5)
        assert own_norm == pytest.approx(norm, rel=1e-4)
        assert (own_wrong, own_images) == (wrong, images)
    for file in ("gradients", "weights", "momentum"):
        expected, found = load_file(trained["one"] / file), load_file(trained[name] / file)
        assert expected.keys() == found.keys()
        for key, tensor in expected.items():
            assert torch.allclose(found[key], tensor, rtol=1e-4, atol=1e-5 * float(tensor.abs().max())), (file, key)


@pytest.mark.parametrize("name", ["columns", "replicas"])
def test_in_bfloat16_every_layout_has_the_losses_of_one_process_but_for_rounding(
    run: Run, tmp_path: Path, name: str
) -> None:
    # Eight bits of a number are kept, so sums taken in another order may differ by its last one.
    for folder, layout in (("one", LAYOUTS["one"]), ("two", LAYOUTS[name])):
        assert {status for status, _ in run(tmp_path / folder, *layout, steps=6, precision="bf16")} == {0}
    one, two = (json.loads((tmp_path / folder / "results.json").read_text()) for folder in ("one", "two"))
    assert [row[0] for row in two] == pytest.approx([row[0] for row in one], rel=2**-7)
    assert [row[1] for row in two] == pytest.approx([row[1] for row in one], rel=2**-4)  # a norm, through nine layers
    again = run(tmp_path / "again", *LAYOUTS[name], steps=6, precision="bf16")
    assert {status for status, _ in again} == {0}
    assert (tmp_path / "again" / "weights").read_bytes() == (tmp_path / "two" / "weights").read_bytes()


def test_what_crosses_between_columns_is_what_the_figure_joins(trained: dict[str, Path]) -> None:
    sent = [row[4] for row in json.loads((trained["columns"] / "results.json").read_text())]
    per_step = {after - before for before, after in pairwise(sent)}
    # Each process sends its half of what is joined, forward, and as much back: the gradients of the others'.
    # conv1 31+4 px -> 16 -> 8, conv2 8 -> 4 px: 8 of 16 maps; conv4 4 -> 2 px: 6 of 12; 10 of 20 units twice.
    joined = 8 * 4 * 4 + 6 * 2 * 2 + 10 + 10
    logits = 3  # the wider of 2 and 3, forward only
    assert per_step == {8 * 4 * (2 * joined + logits)}


@pytest.mark.parametrize("name", ["one", "columns"])
def test_the_same_layout_gives_the_same_bits_also_when_continued(
    run: Run, trained: dict[str, Path], name: str, tmp_path: Path
) -> None:
    processes, per_replica = LAYOUTS[name]
    assert [status for status, _ in run(tmp_path / "half", processes, per_replica, steps=9)] == [0] * processes
    rest = run(tmp_path / "rest", processes, per_replica, start=tmp_path / "half")
    assert [status for status, _ in rest] == [0] * processes
    assert (tmp_path / "rest" / "weights").read_bytes() == (trained[name] / "weights").read_bytes()
    whole, second = (json.loads((f / "results.json").read_text()) for f in (trained[name], tmp_path / "rest"))
    assert [row[:4] for row in second] == [row[:4] for row in whole[9:]]


def test_a_run_continues_in_another_layout(run: Run, trained: dict[str, Path], tmp_path: Path) -> None:
    run(tmp_path / "half", 1, 1, steps=9)
    assert [status for status, _ in run(tmp_path / "rest", 2, 2, start=tmp_path / "half")] == [0, 0]
    whole, second = (json.loads((f / "results.json").read_text()) for f in (trained["one"], tmp_path / "rest"))
    assert [row[0] for row in second] == pytest.approx([row[0] for row in whole[9:]], rel=1e-5)


def test_a_process_that_dies_ends_the_others_in_words(run: Run, tmp_path: Path) -> None:
    (other, words), (dead, _) = run(tmp_path / "x", 2, 2, die="1-3")
    assert dead == 7 and other == 1
    assert "ConnectionError: process 0 of 2 lost process 1, which ended, failed or did not answer" in words


def test_where_the_first_of_the_processes_dies_it_is_named(run: Run, tmp_path: Path) -> None:
    (dead, _), (other, words) = run(tmp_path / "x", 2, 2, die="0-3")
    assert dead == 7 and other == 1
    assert "ConnectionError: process 1 of 2 lost process 0, which ended" in words


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_others_in_words_that_name_it(run: Run, tmp_path: Path) -> None:
    others = run(tmp_path / "x", 4, 2, hang="3-2")
    assert len(others) == 3
    for status, words in others:
        assert status == 1
        assert "lost process 3, which ended, failed or did not answer in time" in words


@pytest.mark.parametrize("late", [0, 1])
def test_a_value_that_is_not_finite_in_one_process_is_applied_in_none(run: Run, tmp_path: Path, late: int) -> None:
    for status, words in run(tmp_path / "x", 2, 1, bad="1-2", late=late):
        assert status == 1
        assert "alexkit.errors.InputError: step 2: the loss or a gradient is not finite" in words
    assert "samples sample-" in words and "not applied" in words


def test_results_read_late_change_nothing_in_any_process(run: Run, trained: dict[str, Path], tmp_path: Path) -> None:
    assert {status for status, _ in run(tmp_path / "x", *LAYOUTS["both"], late=1)} == {0}
    for name in ("weights", "momentum"):
        assert (tmp_path / "x" / name).read_bytes() == (trained["both"] / name).read_bytes()


@pytest.mark.parametrize("name", ["columns", "replicas"])
def test_a_gradient_that_overflows_in_one_process_halves_the_scale_in_all(run: Run, tmp_path: Path, name: str) -> None:
    for folder, layout in (("one", LAYOUTS["one"]), ("two", LAYOUTS[name])):
        assert {status for status, _ in run(tmp_path / folder, *layout, steps=4, precision="fp16", scale=2.0**40)} == {
            0
        }
    one, two = (json.loads((tmp_path / folder / "results.json").read_text()) for folder in ("one", "two"))
    assert all(row[5] < 2.0**40 for row in one + two)
    assert [row[0] for row in two] == pytest.approx([row[0] for row in one], rel=1e-2)


@pytest.mark.parametrize(
    ("world", "per_replica", "columns", "words"),
    [
        (3, 2, 2, r"3 processes do not divide into networks of 2"),
        (2, 2, 1, r"--columns 2: this network has 1 column"),
    ],
)
def test_layouts_that_cannot_be_are_refused(world: int, per_replica: int, columns: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_processes(world, per_replica, columns)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_two_processes_on_one_card_are_refused_in_all_by_name(rank: int) -> None:
    cards = [("GPU-1", "cuda:0"), ("GPU-2", "cuda:1"), ("GPU-1", "cuda:0")]
    store = dist.HashStore()
    for other, card in enumerate(cards):
        if other != rank:
            store.set(f"card-{other}", json.dumps(card))
    with pytest.raises(ValueError, match=r"processes 0 and 2 are both on cuda:0 \(GPU GPU-1\); omit --device"):
        require_own_cards(store, rank, 3, *cards[rank])


def test_cards_of_one_number_on_two_machines_are_two() -> None:
    store = dist.HashStore()
    store.set("card-0", json.dumps(["GPU-1", "cuda:0"]))
    require_own_cards(store, 1, 2, "GPU-2", "cuda:0")


NCCL = "NCCL error in: ProcessGroupNCCL.cpp:3356, {}, NCCL version 2.27.5\n{}"
SHARED = "Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1b000"
INVALID = NCCL.format("invalid usage", f"ncclInvalidUsage: invalid usage.\nLast error:\n{SHARED}\n")
REMOTE = NCCL.format("remote process exited", "ncclRemoteError: a remote process exited.\nLast error:\n")
LATE = "Watchdog caught collective operation timeout: WorkNCCL(SeqNum=1) ran for 600000 milliseconds"


@pytest.mark.parametrize(
    ("text", "silent", "words"),
    [
        (INVALID, [0], f"process 1 of 2: {SHARED}$"),
        (NCCL.format("unhandled cuda error", "Last error:\n"), [0], "process 1 of 2: NCCL error in: .* cuda error"),
        (REMOTE, [0], "process 1 of 2 lost process 0, which ended, failed or did not answer in time; run the same"),
        (LATE, [0], "process 1 of 2 lost process 0, which ended"),
        (LATE, [], "process 1 of 2 lost the connection to the others, although .* alive: Watchdog .*; run the same"),
    ],
)
def test_what_nccl_says_is_not_taken_for_a_lost_process_unless_it_is(
    text: str, silent: list[int], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ProcessLayout.__new__(ProcessLayout)
    own.rank = 1
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(ProcessLayout, "_silent", lambda self: silent)
    monkeypatch.setattr(layout_module, "end_torchrun_later", lambda: None)
    with pytest.raises(ConnectionError, match=words), own.contact():
        raise dist.DistBackendError(text)
