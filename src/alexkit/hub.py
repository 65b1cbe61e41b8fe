"""Repositories on the Hugging Face Hub: listing and fetching files, and uploading a folder, private by default.

Their cards, `README.md`, are written by alexkit until a user writes one.
"""

import glob
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from .errors import InputError
from .extras import explained_imports

Kind = Literal["dataset", "model"]
CARD_NAME = "README.md"
CARD_MARKS: dict[Kind, str] = {
    "dataset": "<!-- made by alexkit; written again when splits are added -->",
    "model": "<!-- made by alexkit; written again by 'alexeval push' -->",
}
"""The line that marks a card as made by alexkit, so that it may be overwritten."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def files_there(name: str, *, kind: Kind) -> list[str]:
    """The paths of all files in a repository; empty if it does not exist. Raises as `push_folder` does."""
    with _explained(name) as api:
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            # Unlike its listing, this does not retry for half a minute if the Hub cannot be reached.
            return [one.rfilename for one in api.repo_info(name, repo_type=kind).siblings or ()]
        except RepositoryNotFoundError:
            return []  # or it belongs to others; creating it will tell


def fetch(name: str, path: str, folder: Path, *, kind: Kind) -> Path:
    """Download one file of a repository to its path below `folder`. Raises as `push_folder` does."""
    with _explained(name) as api:
        return Path(api.hf_hub_download(name, path, repo_type=kind, local_dir=folder))


def is_our_card(path: Path, *, kind: Kind) -> bool:
    """Whether the card at `path` was made by alexkit."""
    return CARD_MARKS[kind].encode() in path.read_bytes()


def has_card_of_its_own(name: str, there: Sequence[str], *, kind: Kind) -> bool:
    """Whether a repository has a card that alexkit did not make, which must not be overwritten.

    Args:
        name: the repository, ORG/NAME.
        there: the paths of its files, from `files_there`.
        kind: whether it holds a dataset or a model.

    Raises as `push_folder` does.
    """
    if CARD_NAME not in there:
        return False
    with tempfile.TemporaryDirectory(prefix="alexkit-push-") as folder:
        return not is_our_card(fetch(name, CARD_NAME, Path(folder), kind=kind), kind=kind)


def push_folder(
    folder: Path,
    name: str,
    *,
    kind: Kind,
    public: bool,
    card: str | None,
    files: Sequence[str],
    into: str = "",
    delete: Sequence[str] = (),
) -> str:
    """Upload files of a folder, and a card. Returns the repository's URL.

    Files that the repository already holds with the same content are not sent again, so an interrupted upload resumes.

    Args:
        folder: the folder to upload.
        name: the repository, ORG/NAME; created if it does not exist.
        kind: whether it holds a dataset or a model.
        public: whether a new repository is public; an existing one stays as it is.
        card: the text of the repository's README.md; None keeps the existing one.
        files: the names of the files to upload; those that do not exist are skipped.
        into: the folder in the repository.
        delete: the names, in that folder, of the files that the same commit removes.

    Raises InputError for an invalid name, and if the Hub refuses or does not answer; ImportError without
    huggingface_hub.
    """
    with _explained(name) as api:
        api.create_repo(name, repo_type=kind, private=not public, exist_ok=True)
        # The Hub's library takes patterns; names may contain characters that are special in them.
        api.upload_folder(
            repo_id=name,
            repo_type=kind,
            folder_path=folder,
            path_in_repo=into,
            allow_patterns=[glob.escape(file) for file in files],
            delete_patterns=[glob.escape(file) for file in delete] or None,
            commit_message=f"Upload {folder.name}",
        )
        if card is not None:
            api.upload_file(
                path_or_fileobj=card.encode("utf-8", "replace"),
                path_in_repo=CARD_NAME,
                repo_id=name,
                repo_type=kind,
                commit_message="Describe what is here",
            )
        prefix = "datasets/" if kind == "dataset" else ""
        return f"{api.endpoint}/{prefix}{name}"


@contextmanager
def _explained(name: str) -> Iterator[Any]:
    """The Hub's client; within the block, its errors become InputError."""
    if not _NAME.fullmatch(name):
        raise InputError(f"{name}: expected ORG/NAME, where ORG is an organization or your user name")
    with explained_imports():
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
    api = HfApi()
    try:
        yield api
    except LocalTokenNotFoundError:
        raise InputError("no token for the Hub: run 'hf auth login', or set HF_TOKEN") from None
    except HFValidationError as error:
        raise InputError(f"{name}: not a valid repository name ({error})") from error
    except HfHubHTTPError as error:
        raise InputError(f"{name}: the Hub refused the request ({error.server_message or error})") from error
    except Exception as error:
        # The Hub's library has changed its HTTP client twice, and only the first one raised OSError.
        if not type(error).__module__.startswith(("httpx", "httpcore", "requests", "urllib3")):
            raise
        raise InputError(
            f"{name}: the Hub at {api.endpoint} does not answer ({error}); run the same command again later to resume"
        ) from error
