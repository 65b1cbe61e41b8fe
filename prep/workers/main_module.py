"""The user's script: worker processes import it when they start, which must not start preparing images again."""

import multiprocessing
import sys

from ...errors import InputError


def refuse_while_main_is_imported() -> None:
    """InputError in a worker process that is still importing the script that started it."""
    # The flag that multiprocessing itself checks; its own error takes six lines and does not name the script.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError(_guard_needed("was called while a worker process imported"))


def main_failed(code: int) -> InputError:
    """The error for a worker that exited with `code` before its first job, while it imported the script."""
    return InputError(_guard_needed(f"lost a worker process, which ended with code {code} while it imported"))


def main_path() -> str | None:
    """The script that workers import; None if the interpreter runs no script."""
    return getattr(sys.modules.get("__main__"), "__file__", None)


def _guard_needed(what: str) -> str:
    script = main_path() or sys.argv[0]  # during its import, the script is not yet registered as a module
    return (
        f"alexkit.prep {what} {script}; worker processes import the script that starts them, so put "
        "its work under 'if __name__ == \"__main__\":'"
    )
