"""Find images that are similar to a network: stored features, exact neighbors, short codes."""

from .codes import AutoEncoder, CodeOptions, random_codes, train_codes
from .comparison import CodeComparison, compare_codes, trained_codes
from .feature_store import stored_features
from .nearest import hamming_nearest, nearest, recall

__all__ = [
    "AutoEncoder",
    "CodeComparison",
    "CodeOptions",
    "compare_codes",
    "hamming_nearest",
    "nearest",
    "random_codes",
    "recall",
    "stored_features",
    "train_codes",
    "trained_codes",
]
