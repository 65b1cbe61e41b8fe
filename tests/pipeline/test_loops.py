"""What a loop over a loader yields: after a break, a state or an interrupt, in threads, forks and spawned processes."""

import json
import linecache
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest
import torch

from alexkit.pipeline import CenterCrop, Example, Loader, TenViews, TrainAugment
from alexkit.prep import adopt_webdataset

TRAIN = TrainAugment(crop=56)


def indices(loader: Any) -> list[list[int]]:
    return [batch.indices.tolist() for batch in loader]


@pytest.mark.parametrize("augment", [CenterCrop(crop=56), TenViews(crop=56)], ids=["center", "ten views"])
@pytest.mark.parametrize("given", [1, 2, 3])
def test_every_loop_of_an_evaluation_is_a_whole_pass(draw_shards: Any, augment: Any, given: int) -> None:
    with Loader(draw_shards(), batch_size=16, augment=augment) as loader:
        for _ in range(2):
            for number, batch in enumerate(loader):  # as Lightning's sanity check does
                assert batch.indices[0] == 16 * number
                if number + 1 == given:
                    break
        assert [i for batch in loader for i in batch.indices[batch.mask].tolist()] == list(range(40))


def test_a_fixed_order_is_the_stored_one_in_every_epoch_with_other_crops(draw_shards: Any) -> None:
    augment = TrainAugment(crop=56)
    with Loader(draw_shards(), batch_size=16, augment=augment, order="fixed", drop_last=False, seed=1) as loader:
        first, second = list(loader), list(loader)
        for epoch in (first, second):
            assert [i for batch in epoch for i in batch.indices[batch.mask].tolist()] == list(range(40))
        assert not torch.equal(first[0].images, second[0].images)
        state = loader.state_dict()
    for replica in range(2):
        with Loader(
            draw_shards(),
            batch_size=8,
            replica=replica,
            num_replicas=2,
            augment=augment,
            order="fixed",
            drop_last=False,
            seed=1,
        ) as part:
            part.load_state_dict({**state, "position": 40 + 16})
            assert torch.equal(next(iter(part)).images, second[1].images[replica::2])


def test_a_fixed_order_is_refused_unless_samples_are_known_to_be_shuffled(draw_shards: Any, tmp_path: Path) -> None:
    adopt_webdataset(draw_shards(), tmp_path / "adopted")
    with pytest.raises(ValueError, match=r"not known whether its samples were shuffled; choose order='full'"):
        Loader(tmp_path / "adopted", batch_size=8, augment=TRAIN, order="fixed")
    with pytest.raises(ValueError, match="the stored order of one shard set"):
        Loader([draw_shards(), draw_shards(split="val")], batch_size=8, augment=TRAIN, order="fixed")
    with Loader(tmp_path / "adopted", batch_size=8, augment=TRAIN) as loader:
        assert len(list(loader)) == 5


def test_an_evaluation_resumes_from_its_state_and_the_next_pass_is_whole(draw_shards: Any) -> None:
    with Loader(draw_shards(), batch_size=16, augment=CenterCrop(crop=56)) as loader:
        whole = indices(loader)
        next(iter(loader))
        state = json.loads(json.dumps(loader.state_dict()))
        assert indices(loader) == whole
        loader.load_state_dict(state)
        assert indices(loader) == whole[1:]
        assert indices(loader) == whole


def test_the_state_after_the_last_batch_is_the_start_of_the_next_epoch(draw_shards: Any) -> None:
    with Loader(draw_shards(), batch_size=8, augment=TRAIN) as loader:
        whole = [indices(loader) for _ in range(2)]
        loader.set_epoch(0)
        loop = iter(loader)
        for _ in range(len(loader)):
            next(loop)
        loader.load_state_dict(loader.state_dict())
        assert loader.epoch == 1 and indices(loader) == whole[1]


def test_set_epoch_moves_to_the_start_of_the_epoch_unless_a_state_was_just_loaded(draw_shards: Any) -> None:
    with Loader(draw_shards(), batch_size=8, augment=TRAIN) as loader:
        epochs = [indices(loader) for _ in range(3)]
        for epoch in (1, 0, 2):
            loader.set_epoch(epoch)
            assert loader.epoch == epoch and indices(loader) == epochs[epoch]
        loader.set_epoch(1)
        next(iter(loader))
        state = loader.state_dict()
        loader.set_epoch(1)  # another training with the same loader, for example after a search for a learning rate
        assert indices(loader) == epochs[1]
        loader.load_state_dict(state)
        loader.set_epoch(1)  # as a trainer does when it resumes in the middle
        assert indices(loader) == epochs[1][1:]
        loader.load_state_dict(state)
        next(iter(loader))
        loader.set_epoch(1)
        assert indices(loader) == epochs[1]
        with pytest.raises(ValueError, match="epoch must be"):
            loader.set_epoch(-1)


def test_a_loop_that_has_yielded_nothing_starts_where_the_loader_is_moved_to(draw_shards: Any) -> None:
    """Lightning creates the iterator first and sets the epoch afterwards."""
    with Loader(draw_shards(), batch_size=8, augment=TRAIN) as loader:
        epochs = [indices(loader) for _ in range(3)]
        state = loader.state_dict()
        for epoch in (1, 0, 2):
            loop = iter(loader)
            loader.batch_sampler.sampler.set_epoch(epoch)
            assert indices(loop) == epochs[epoch]
        loop = iter(loader)
        loader.load_state_dict({**state, "position": 16})
        next(loop)
        loader.set_epoch(2)
        with pytest.raises(ValueError, match=r"this loop is over: .* or the loader was moved"):
            next(loop)
    with Loader(draw_shards(), batch_size=16, augment=CenterCrop(crop=56)) as loader:
        whole = indices(loader)
        loop = iter(loader)
        loader.set_epoch(3)
        assert indices(loop) == whole
        loop = iter(loader)
        loader.load_state_dict({**loader.state_dict(), "position": 16})
        next(loop)
        assert indices(loader) == whole  # the state was for that loop


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_an_interrupt_at_any_line_loses_no_batch(draw_shards: Any, dtype: torch.dtype) -> None:
    """The next batch after an interrupt is the one that was not yet yielded, wherever the interrupt came."""
    with Loader(draw_shards(), batch_size=8, augment=TRAIN, dtype=dtype, num_threads=1) as loader:
        state = loader.state_dict()
        expected = indices(loader)[0]
        interrupted = 0
        for line in range(0, 1000, 5 if dtype == torch.float32 else 13):
            loader.load_state_dict(state)
            left = line

            def interrupt(frame: FrameType, event: str, _: Any) -> Any:
                nonlocal left
                if "alexkit" not in frame.f_code.co_filename:
                    return None
                text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
                # After the store that counts the batch there is no call, so that no signal is handled there.
                if event == "line" and text != "return batch":
                    left -= 1
                    if left < 0:
                        sys.settrace(None)
                        raise KeyboardInterrupt
                return interrupt

            loop = iter(loader)
            sys.settrace(interrupt)
            try:
                found = next(loop).indices.tolist()
            except KeyboardInterrupt:
                interrupted += 1
                found = next(iter(loader)).indices.tolist()
            finally:
                sys.settrace(None)
            assert found == expected
            if left >= 0:
                break
    assert interrupted > 8


def test_a_second_thread_is_refused_by_name(draw_shards: Any) -> None:
    messages: list[str] = []

    def iterate() -> None:
        try:
            next(iter(loader))
        except ValueError as error:
            messages.append(str(error))

    with Loader(draw_shards(), batch_size=8, augment=TRAIN) as loader:
        loop = iter(loader)
        next(loop)
        second = threading.Thread(target=iterate, name="reader-2")
        second.start()
        second.join()
        assert len(messages) == 1 and "'MainThread' is iterating" in messages[0] and "'reader-2'" in messages[0]
        assert len(list(loop)) == len(loader) - 1  # the first loop goes on undisturbed
        third = threading.Thread(target=iterate)
        third.start()
        third.join()
        assert len(messages) == 1  # once the first loop has ended the loader is free


def test_a_loop_that_another_one_has_replaced_is_over(draw_shards: Any) -> None:
    with Loader(draw_shards(), batch_size=8, augment=TRAIN) as loader:
        first = iter(loader)
        next(first)
        next(iter(loader))
        with pytest.raises(ValueError, match="another loop over this loader has begun"):
            next(first)


def test_a_fork_is_refused_at_once(draw_shards: Any) -> None:
    script = (
        "import multiprocessing, sys, torch\n"
        "from alexkit.pipeline import Loader, TrainAugment\n"
        "loader = Loader(sys.argv[1], batch_size=8, augment=TrainAugment(crop=56))\n"
        "next(iter(loader))\n"
        "def child():\n"
        "    try:\n"
        "        next(iter(loader))\n"
        "    except ValueError as error:\n"
        "        print(error, flush=True)\n"
        "process = multiprocessing.get_context('fork').Process(target=child)\n"
        "process.start()\n"
        "process.join(60)\n"
        "sys.exit(process.exitcode != 0)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(draw_shards())], capture_output=True, text=True, timeout=100
    )
    assert run.returncode == 0, run.stderr
    assert "do not survive a fork" in run.stdout


def test_a_loader_pickles_as_its_arguments_and_position(draw_shards: Any) -> None:
    with Loader(draw_shards(), batch_size=8, augment=TRAIN, seed=3, extras=["json"], order="window") as loader:
        next(iter(loader))
        content = pickle.dumps(loader)
        assert len(content) < 4096
        with pickle.loads(content) as copy:
            assert copy.state_dict() == loader.state_dict() and copy.device == loader.device
            assert indices(copy) == indices(loader)


@pytest.mark.slow
def test_a_loader_can_be_passed_to_a_spawned_process(draw_shards: Any, tmp_path: Path) -> None:
    script = tmp_path / "spawn.py"
    script.write_text(
        "import multiprocessing, sys\n"
        "from alexkit.pipeline import Loader, TrainAugment\n"
        "def child(loader):\n"
        "    print(next(iter(loader)).indices.tolist(), flush=True)\n"
        "if __name__ == '__main__':\n"
        "    loader = Loader(sys.argv[1], batch_size=8, augment=TrainAugment(crop=56))\n"
        "    print(next(iter(loader)).indices.tolist(), flush=True)\n"
        "    process = multiprocessing.get_context('spawn').Process(target=child, args=(loader,))\n"
        "    process.start()\n"
        "    process.join()\n"
        "    sys.exit(process.exitcode)\n"
    )
    folder = draw_shards()
    run = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    with Loader(folder, batch_size=8, augment=TRAIN) as loader:
        assert [json.loads(line) for line in run.stdout.splitlines()] == indices(loader)[:2]


def test_the_replica_comes_from_the_launcher_when_training(
    draw_shards: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = draw_shards()
    with Loader(folder, batch_size=8, augment=TRAIN) as loader:
        expected = [batch[1::2] for batch in indices(loader)]
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    caplog.set_level("INFO")
    with Loader(folder, batch_size=4, augment=TRAIN) as loader:
        assert indices(loader) == expected
    assert caplog.text.count("replica 1 of 2") == 1
    with Loader(folder, batch_size=16, augment=CenterCrop(crop=56)) as loader:  # an evaluation reads everything
        assert sorted({i for batch in indices(loader) for i in batch}) == list(range(40))
    with Loader(folder, batch_size=8, augment=TRAIN, replica=0, num_replicas=1) as loader:  # as passed
        assert len(loader) == 5
    monkeypatch.setenv("RANK", "two")
    with pytest.raises(ValueError, match="RANK is 'two'"):
        Loader(folder, batch_size=4, augment=TRAIN)


def test_a_loader_made_before_the_rank_was_known_is_refused(draw_shards: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every rank would train on the same batches."""
    with (
        Loader(draw_shards(), batch_size=8, augment=TRAIN) as early,
        Loader(draw_shards(), batch_size=8, augment=TRAIN, replica=0, num_replicas=1) as given,
        Loader(draw_shards(), batch_size=8, augment=CenterCrop(crop=56)) as evaluation,
    ):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
        with pytest.raises(ValueError, match=r"as replica 0 of 1, but this is rank 1 of 2; make it afterwards"):
            iter(early)
        assert len(list(given)) == len(list(evaluation)) == 5
        with Loader(draw_shards(), batch_size=4, augment=TRAIN) as late:
            first = indices(late)
            monkeypatch.undo()  # torch.distributed has ended, the loader's part is still the same
            late.set_epoch(0)
            assert indices(late) == first == [batch[1::2] for batch in indices(early)]


class Point(NamedTuple):
    key: Any
    offset: Any


def nested(example: Example) -> Any:
    return Point(example.key, torch.tensor(example.offset)), {"parts": [float(example.label), "text"]}


def test_a_batch_unpacks_moves_and_names_its_fields(draw_shards: Any) -> None:
    with Loader(draw_shards(), batch_size=8, augment=TRAIN, target=nested) as loader:
        for batch in loader:
            images, labels = batch
            assert images is batch.images and labels is batch.labels and len(batch) == 8
            assert batch.to("cpu", non_blocking=True) is batch
            moved = batch.to("meta")
            assert moved.images.is_meta and moved.mask.is_meta and moved.keys == batch.keys
            assert batch.as_dict()["labels"] is labels
            assert list(batch.targets[0].key) == batch.keys
            assert moved.targets[0].offset.is_meta and moved.targets[1]["parts"][0].is_meta
            assert type(moved.targets[0]) is Point and list(moved.targets[1]["parts"][1]) == ["text"] * 8
        assert "Loader(" in repr(loader) and "5 batches of 8 an epoch" in repr(loader) and "epoch 1" in repr(loader)
