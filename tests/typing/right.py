"""A user's program with every public name of the three stages, in which type checkers find no error."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from alexkit.model import (
    Evaluation,
    EvaluationResult,
    Network,
    Recipe,
    Switches,
    TrainedNetwork,
    Trainer,
    evaluate,
    features,
    load_network,
    load_recipe,
    wiring,
)
from alexkit.pipeline import (
    Augmentation,
    Batch,
    CenterCrop,
    ClassBalanced,
    ColorJitter,
    CropDraw,
    Custom,
    Example,
    Jitter,
    Loader,
    LoaderDataset,
    Mean,
    MeanName,
    Mix,
    Mixed,
    Order,
    PixelRange,
    Preprocess,
    RandomErasing,
    RandomResizedCrop,
    SeededRandom,
    Std,
    StdName,
    Subset,
    TenViews,
    TrainAugment,
    Weighted,
    measure_throughput,
)
from alexkit.prep import (
    BuildOptions,
    ColorStatistics,
    Manifest,
    PixelOptions,
    PixelSums,
    ShardSet,
    SourceOptions,
    adopt_webdataset,
    build_shards,
    open_source,
    repair_set,
    verify_set,
)


def prepare(folder: Path, out: Path) -> ColorStatistics:
    options = BuildOptions(pixels=PixelOptions(size_px=256, fit="shorter"), seed=1, num_workers=2)
    source = open_source(folder, SourceOptions(val_fraction=0.1, keep=("json",)))
    built = build_shards(source, out, options)
    print(len(built), adopt_webdataset("tars", "adopted", class_names=["cat", "dog"]))
    findings = verify_set(out / "train", depth="decode", on_progress=print)
    repaired: list[str] = repair_set(out / "train", source, findings, num_workers=1, on_progress=print)
    print(*repaired)
    shard_set = ShardSet.open(out / "train")
    manifest: Manifest = shard_set.manifest
    sums = PixelSums.zero(256) + PixelSums.zero(256)
    print(manifest.num_samples, [entry.name for entry in manifest.classes], sums.num_images)
    return manifest.color


def augmentations(
    jitter: Jitter, crop_draw: CropDraw, mean: Mean, std: Std, unit: PixelRange
) -> Sequence[Augmentation]:
    mean_name: MeanName = "channel"
    std_name: StdName = "imagenet"
    color = ColorJitter(brightness=0.4, hue=0.1)
    return [
        TrainAugment(crop=224, jitter=jitter, crop_draw=crop_draw, mean=mean, std=std, flip=False),
        TrainAugment(crop=(192, 224), mean=[123.7, 116.3, 103.5], std=(58.4, 57.1, 57.4)),
        TrainAugment(mean=np.zeros(3, np.float32), std=torch.ones(3)),
        RandomResizedCrop(crop=224, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), color=color, erasing=RandomErasing()),
        CenterCrop(
            resize=256, crop=224, mean=mean_name, std=std_name, pixel_range=unit, mean_from=Path("shards/train")
        ),
        TenViews(crop=224, mean=np.float32(120.5), std="none"),
    ]


def noisy(images: Any, random: SeededRandom) -> Any:
    return images + random.normal(0.0, 9.0)


def caption(example: Example) -> dict[str, Any]:
    content = example.extras["json"]
    return {"text": json.loads(content or b"{}").get("caption", ""), "mirror": example.mirror, "at": example.offset}


def few(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    return labels < 10


def backwards(seed: int, epoch: int) -> NDArray[np.int64]:
    return np.arange(8, -1, -1)


def loaders(folder: str, order: Order) -> list[Loader]:
    train = TrainAugment()
    return [
        Loader(folder, batch_size=8, augment=train, order=order, seed=1, dtype=torch.bfloat16, channels_last=True),
        Loader(Path(folder), batch_size=8, augment=train, operators=noisy, extras=["json"], target=caption),
        Loader([folder, folder], batch_size=8, augment=train, sampling=Mixed(weights=[3, 1])),
        Loader(folder, batch_size=8, augment=train, sampling=Subset(where=few, limit=100), drop_last=False),
        Loader(folder, batch_size=8, augment=train, sampling=ClassBalanced(num_samples=80), mix=Mix(mixup=0.2)),
        Loader(folder, batch_size=8, augment=train, sampling=Custom(order=backwards), device=torch.device("cpu")),
        Loader(folder, batch_size=8, augment=train, sampling=Weighted(weights=np.ones(9)), replica=0, num_replicas=2),
        Loader("s3://bucket/train", batch_size=8, augment=train, cache="/tmp/c", cache_limit="20GB"),
        Loader(folder, batch_size=8, augment=train, on_error="replace", max_replaced=0.01, device="cuda:0"),
    ]


def train(folder: str, device: str) -> float:
    total = 0.0
    with Loader(folder, batch_size=8, augment=RandomResizedCrop(crop=224)) as loader:
        names: list[str] = loader.classes
        numbers: dict[str, int] = loader.class_to_idx
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 224 * 224, loader.num_classes))
        loader.set_epoch(1)
        for images, labels in loader:
            total += torch.nn.functional.cross_entropy(network(images), labels).item()
        for batch in loader:
            moved: Batch = batch.to(device, non_blocking=True).pin_memory()
            right: torch.Tensor = (network(moved.images).argmax(1) == moved.labels)[moved.mask]
            print(right.sum().item(), moved.indices.tolist(), moved.keys[0], moved.as_dict()["targets"], len(moved))
        state = loader.state_dict()
        loader.load_state_dict(json.loads(json.dumps(state)))
        print(names, numbers, state["position"] // loader.batch_size, len(loader), loader.epoch, loader.num_replaced)
        sample = loader.dataset[0]
        print(sample.image.size, sample.label, sample.key, sample.where, len(loader.dataset), loader.labels.sum())
        for batch in DataLoader(LoaderDataset(loader), batch_size=None):
            print(batch.images.shape)
    print(*measure_throughput(folder, batch_size=8, augment=TrainAugment(), seconds=0.5).lines())
    return total


def serve(shards: str, network: torch.nn.Module) -> torch.Tensor:
    served = torch.nn.Sequential(Preprocess(CenterCrop(crop=224, mean="none"), shards), network)
    answer: torch.Tensor = served(torch.zeros(1, 256, 256, 3, dtype=torch.uint8))
    return answer


def learn(runs: Path) -> EvaluationResult:
    recipe: Recipe = load_recipe("original", ["training.epochs=1"])
    Trainer(recipe, Path("shards"), runs / "original")
    network = Network(wiring(Switches(norm="paper")), 1000, seed=1)
    trained: TrainedNetwork = load_network(runs / "original", "best")
    with Loader("shards/val", batch_size=8, augment=CenterCrop(mean_from="shards/train")) as loader:
        print(features(network, loader, dtype=np.float32).shape)
    print(Evaluation(trained, "shards", views=["center", "ten"]))
    return evaluate([trained], "shards", split="val")
