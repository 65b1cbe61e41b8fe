from typing import Any

import pytest
import torch

from alexkit.pipeline import CenterCrop, RandomResizedCrop, TrainAugment, measure_throughput, throughput
from alexkit.pipeline.throughput import Throughput


@pytest.mark.parametrize("format", ["jpeg", "raw"])
@pytest.mark.parametrize(
    "augment",
    [
        TrainAugment(crop=56),
        CenterCrop(crop=56),
        RandomResizedCrop(crop=48),
        CenterCrop(crop=48, resize=56, mean="imagenet"),
    ],
    ids=["crops", "center", "boxes", "resized"],
)
def test_every_stage_is_measured(draw_shards: Any, format: str, augment: Any) -> None:
    result = measure_throughput(draw_shards(format=format), batch_size=8, augment=augment, seconds=0.05)
    assert min(result.reading, result.graph, result.loader) > 0
    assert (result.decoding is None) == (format == "raw")
    assert result.lines()[-1] == result.limit()


def test_a_batch_counts_when_the_gpu_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    class Stream:
        def synchronize(self) -> None:
            events.append("waited")

    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream())
    throughput._rate(lambda: events.append("asked"), 8, 0.0, torch.device("cuda:0"))
    assert events == ["asked", "waited"] * (throughput.BATCHES_AHEAD + 1)


def test_a_remote_set_is_refused() -> None:
    with pytest.raises(ValueError, match="s3://bucket/train: a remote shard set, but only local ones can be measured"):
        measure_throughput("s3://bucket/train", batch_size=8, augment=CenterCrop())


@pytest.mark.parametrize(
    ("stage", "limit"),
    [
        ("reading", "The limit is reading, 100 images/s on its own: put the shards on a faster disk"),
        ("decoding", "The limit is decoding, 100 images/s on its own: use more cores or a GPU, or store raw pixels"),
        ("graph", "The limit is the rest of the graph, 100 images/s on its own: use more cores or a GPU"),
    ],
)
def test_the_slowest_stage_is_named(stage: str, limit: str) -> None:
    rates = {"reading": 5000.0, "decoding": 4000.0, "graph": 3000.0, "loader": 90.0, stage: 100.0}
    assert Throughput(**rates).limit().startswith(limit)
