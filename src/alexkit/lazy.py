"""Names of a package that are imported on first access, so that importing the package stays fast."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from .extras import explained_imports


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package. Type checkers read its imports under TYPE_CHECKING instead.

    Assign both in the `else` of that `if`: a `__getattr__` that type checkers see makes every misspelled name `Any`.

    Args:
        package: The package's `__name__`.
        homes: The module that holds each name, relative to the package.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with explained_imports():
            return getattr(import_module(homes[name], package), name)

    def names() -> list[str]:
        return sorted(import_module(package).__all__)

    return get, names
