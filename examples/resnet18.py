"""Train a ResNet-18, defined in this file, on a shard set: python resnet18.py SHARDS [EPOCHS]."""

import sys

import torch
from torch import Tensor, nn

from alexkit.pipeline import CenterCrop, Loader, RandomResizedCrop


class Block(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al., "Deep Residual Learning", 2015, figure 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return torch.relu(self.body(x_NCHW) + self.shortcut(x_NCHW))


def resnet18(num_classes: int) -> nn.Module:
    """11.7 million parameters for 1000 classes."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    width = 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(width, outputs, stride), Block(outputs, outputs, 1)]
        width = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, num_classes))


def main(shards: str, epochs: int = 1, crop: int = 224, batch_size: int = 32) -> float:
    """Train, and return the validation accuracy."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    augment = RandomResizedCrop(crop=crop, pixel_range="0-1")
    view = CenterCrop(crop=crop, mean="imagenet", std="imagenet", pixel_range="0-1")
    with (
        Loader(f"{shards}/train", batch_size=batch_size, augment=augment, device=device) as train,
        Loader(f"{shards}/val", batch_size=batch_size, augment=view, device=device) as val,
    ):
        network = resnet18(train.num_classes).to(device)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        for epoch in range(epochs):
            network.train()
            for images, labels in train:
                loss = nn.functional.cross_entropy(network(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            network.eval()
            with torch.no_grad():
                right = sum(int((network(b.images).argmax(1) == b.labels)[b.mask].sum()) for b in val)
            print(f"epoch {epoch}: loss {loss.item():.3f}, {right} of {val.num_samples} right")
    return right / val.num_samples


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
