"""Fit a scikit-learn classifier on image features: python scikit_learn_features.py SHARDS."""

import sys

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from alexkit.pipeline import CenterCrop, Loader


def features(folder: str, crop: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Every image once, as 4 x 4 mean colors, and the labels. Replace the pooling with your own network."""
    rows, labels = [], []
    with Loader(folder, batch_size=16, augment=CenterCrop(crop=crop, mean="none", pixel_range="0-1")) as loader:
        for batch in loader:
            pooled = batch.images.unfold(2, crop // 4, crop // 4).unfold(3, crop // 4, crop // 4).mean((-1, -2))
            rows.append(pooled.flatten(1)[batch.mask].numpy())
            labels.append(batch.labels[batch.mask].numpy())
    return np.concatenate(rows), np.concatenate(labels)


def main(shards: str, crop: int = 56) -> float:
    """Fit on the training set, and return the validation accuracy."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    classifier.fit(*features(f"{shards}/train", crop))
    return float(classifier.score(*features(f"{shards}/val", crop)))


if __name__ == "__main__":
    print(f"{main(sys.argv[1]):.1%} right")
