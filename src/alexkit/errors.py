"""Errors in what a user provides, as opposed to bugs in alexkit."""


class InputError(ValueError):
    """Something a user provided is wrong: an argument, a file, a folder, a shard set, a recipe or a run.

    The message says where, what was found, what was expected and what to do. Commands print it as one line; any other
    exception except OSError and ImportError is a bug in alexkit and keeps its traceback.
    """
