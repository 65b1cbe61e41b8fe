"""Images that look alike to a network: kept features, exact neighbors, short codes."""

from .codes import AutoEncoder, CodeOptions, random_codes, train_codes
from .feature_store import FOLDER, stored_features
from .nearest import hamming_nearest, nearest, recall

__all__ = [
    "FOLDER",
    "AutoEncoder",
    "CodeOptions",
    "hamming_nearest",
    "nearest",
    "random_codes",
    "recall",
    "stored_features",
    "train_codes",
]
