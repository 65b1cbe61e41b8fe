"""Checks of what a user passes: each refusal names the argument, what was found and what is allowed.

The other modules of this folder need torch; what is exported here does not.
"""

from .values import choice, extensions, flag, number, whole_number

__all__ = ["choice", "extensions", "flag", "number", "whole_number"]
