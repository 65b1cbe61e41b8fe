# ruff: noqa: B007, F401
"""Mistakes that a type checker finds before anything runs: exactly on the lines marked `wrong`."""

from alexkit.model import load_recipe, misspelled  # wrong
from alexkit.pipeline import CenterCrop, Laoder, Loader, Mix, RandomResizedCrop, TrainAugment, Weighted  # wrong
from alexkit.prep import BuildOptions, PixelOptions, open_sorce  # wrong

train = TrainAugment(crop=224)
TrainAugment(jitter="papre")  # wrong
TrainAugment(mean="imagnet")  # wrong
TrainAugment(crop="224")  # wrong
TrainAugment(size=224)  # wrong
CenterCrop(jitter="paper")  # wrong
RandomResizedCrop(scale=0.08)  # wrong
Loader("shards/train", 8, train)  # wrong
Loader("shards/train", batch_size="8", augment=train)  # wrong
Loader("shards/train", batch_size=8)  # wrong
Loader("shards/train", batch_size=8, augment=TrainAugment)  # wrong
Loader("shards/train", batch_size=8, augment=train, order="random")  # wrong
Loader("shards/train", batch_size=8, augment=train, on_error="ignore")  # wrong
Loader("shards/train", batch_size=8, augment=train, dtype="float32")  # wrong
Loader("shards/train", batch_size=8, augment=train, seed=1.5)  # wrong
Loader("shards/train", batch_size=8, augment=train, sampling=[1, 2, 3])  # wrong
Loader("shards/train", batch_size=8, augment=train, mix=0.2)  # wrong
Loader("shards/train", batch_size=8, augment=train, shuffle=True)  # wrong
Mix(0.2)  # wrong
Weighted()  # wrong
with Loader("shards/train", batch_size=8, augment=train) as loader:
    for batch in loader:
        print(batch.image)  # wrong
        print(batch["images"])  # wrong
        batch.to()  # wrong
    for images, labels in loader:
        print(images.shapes)  # wrong
    loader.seek(3)  # wrong
    names: dict[str, int] = loader.classes  # wrong
BuildOptions(workers=2)  # wrong
PixelOptions(fit="longer")  # wrong
load_recipe(3)  # wrong
