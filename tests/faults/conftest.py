"""The generated sources of the preparation tests."""

from ..prep.conftest import draw_source, tree_hashes

__all__ = ["draw_source", "tree_hashes"]
