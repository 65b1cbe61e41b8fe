"""What a user can get wrong, told apart from our own mistakes."""


class InputError(ValueError):
    """Something that was given is wrong: an argument, a file, a folder, a shard set, a recipe, a run.

    The message says where, what was found, what was expected and what to do. Commands print it as one line; every other
    exception but OSError and ImportError is a mistake of ours and keeps its traceback.
    """
