"""Validation of user arguments: each error names the argument, what was found and what is allowed.

The names exported here do not need torch; the other modules of this folder do.
"""

from .values import choice, extensions, flag, number, whole_number

__all__ = ["choice", "extensions", "flag", "number", "whole_number"]
