"""The drawn sources of the tests of preparation."""

from ..prep.conftest import draw_source, tree_hashes

__all__ = ["draw_source", "tree_hashes"]
