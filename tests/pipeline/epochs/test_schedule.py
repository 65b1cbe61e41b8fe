from typing import Any

import numpy as np
import pytest

from alexkit.pipeline.epochs.schedule import Schedule


def schedule(num_samples: int, batch_size: int, replica: int, num_replicas: int, order: Any = "full") -> Schedule:
    return Schedule(
        num_samples=num_samples,
        batch_size=batch_size,
        replica=replica,
        num_replicas=num_replicas,
        seed=9,
        order=order,
        training=True,
    )


@pytest.mark.parametrize("order", ["full", "window", "fixed"])
def test_replicas_may_change_at_any_step_of_three_epochs(order: str) -> None:
    global_batch, num_samples = 24, 24 * 20
    rng = np.random.default_rng(0)
    position, seen = 0, []
    reference = schedule(num_samples, global_batch, 0, 1, order)
    while position < 3 * num_samples:
        num_replicas = int(rng.choice([1, 2, 3, 4, 6, 8, 12]))
        batch = np.empty(global_batch, np.int64)
        for replica in range(num_replicas):
            part = schedule(num_samples, global_batch // num_replicas, replica, num_replicas, order)
            batch[replica::num_replicas] = part.local_batch(position).indices_B
        assert (batch == reference.local_batch(position).indices_B).all()
        seen.append(batch)
        position = reference.after(position)
    for epoch in range(3):
        assert (np.sort(np.concatenate(seen[20 * epoch : 20 * epoch + 20])) == np.arange(num_samples)).all()


@pytest.mark.parametrize("order", ["full", "window"])
@pytest.mark.parametrize("num_samples", [24 * 20, 24 * 900 + 5])
def test_every_sample_is_read_ahead_of_its_batch(order: str, num_samples: int) -> None:
    epochs = schedule(num_samples, 24, 0, 1, order)
    asked: set[int] = set()
    for position in range(0, epochs.epoch_samples, 24):
        ahead = epochs.read_ahead(position)
        assert not asked.intersection(ahead.tolist())  # once
        asked.update(ahead.tolist())
        if order == "window" or position >= 4 * 24:
            assert asked.issuperset(epochs.local_batch(position).indices_B.tolist())
