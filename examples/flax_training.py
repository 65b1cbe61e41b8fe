"""Train a small network in JAX and Flax without copying batches: python flax_training.py SHARDS [EPOCHS]."""

import sys

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from alexkit.pipeline import Loader, TrainAugment


class Network(nnx.Module):
    """One convolution, global average pooling, one linear layer."""

    def __init__(self, num_classes: int, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(3, 16, (7, 7), strides=4, rngs=rngs)
        self.linear = nnx.Linear(16, num_classes, rngs=rngs)

    def __call__(self, x_NHWC: jax.Array) -> jax.Array:
        return self.linear(nnx.relu(self.conv(x_NHWC)).mean((1, 2)))


def main(shards: str, epochs: int = 2, crop: int = 56) -> list[float]:
    """Train, and return the mean loss of each epoch."""
    augment = TrainAugment(crop=crop, mean="channel", std="channel", jitter="off")
    losses = []
    with Loader(f"{shards}/train", batch_size=8, augment=augment, channels_last=True) as loader:
        network = Network(loader.num_classes, nnx.Rngs(0))
        optimizer = nnx.Optimizer(network, optax.adam(0.01), wrt=nnx.Param)

        @nnx.jit
        def step(network: Network, optimizer: nnx.Optimizer, x_NHWC: jax.Array, labels: jax.Array) -> jax.Array:
            def loss_of(network: Network) -> jax.Array:
                return optax.softmax_cross_entropy_with_integer_labels(network(x_NHWC), labels).mean()

            loss, gradients = nnx.value_and_grad(loss_of)(network)
            optimizer.update(network, gradients)
            return loss

        for _ in range(epochs):
            total = 0.0
            for images, labels in loader:
                x_NHWC = jax.dlpack.from_dlpack(images.movedim(1, -1))  # shares the loader's memory
                total += float(step(network, optimizer, x_NHWC, jnp.asarray(labels.numpy())))
            losses.append(total / len(loader))
    return losses


if __name__ == "__main__":
    print(*main(sys.argv[1], *map(int, sys.argv[2:])))
