"""Repositories of the Hugging Face Hub: what is there, and uploading a folder, private unless asked otherwise."""

import glob
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from .errors import InputError
from .extras import explained_imports

Kind = Literal["dataset", "model"]
CARD = "README.md"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def files_there(name: str, *, kind: Kind) -> list[str]:
    """The paths of all files in a repository; none of one that is not there. Raises as `push_folder` does."""
    with _explained(name) as api:
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            # Unlike its listing, this does not ask a Hub that is away again for half a minute.
            return [one.rfilename for one in api.repo_info(name, repo_type=kind).siblings or ()]
        except RepositoryNotFoundError:
            return []  # or one of others; making it will tell


def fetch(name: str, path: str, folder: Path, *, kind: Kind) -> Path:
    """Copy one file of a repository below `folder`, with its path there. Raises as `push_folder` does."""
    with _explained(name) as api:
        return Path(api.hf_hub_download(name, path, repo_type=kind, local_dir=folder))


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
    """Upload files of a folder, and a card; the repository's address.

    A file that is there already with the same content is not sent again, so an interrupted upload goes on.

    Args:
        folder: the folder to upload.
        name: the repository, ORG/NAME; it is made when it is not there.
        kind: whether it holds a dataset or a model.
        public: whether a new repository can be seen by everybody; one that is there stays as it is.
        card: the text of the repository's README.md; None leaves the one that is there.
        files: the names of what to send, as far as it is there.
        into: the folder in the repository.
        delete: the names, in that folder, of what goes from the repository by the same commit.

    Raises InputError for a name that is none, for what the Hub refuses and when it does not answer, ImportError without
    huggingface_hub.
    """
    with _explained(name) as api:
        api.create_repo(name, repo_type=kind, private=not public, exist_ok=True)
        # The Hub's library takes patterns; names may hold what is special in them.
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
                path_in_repo=CARD,
                repo_id=name,
                repo_type=kind,
                commit_message="Describe what is here",
            )
        prefix = "datasets/" if kind == "dataset" else ""
        return f"{api.endpoint}/{prefix}{name}"


@contextmanager
def _explained(name: str) -> Iterator[Any]:
    """The Hub's client, whose errors become InputError in the block."""
    if not _NAME.fullmatch(name):
        raise InputError(f"{name}: expected ORG/NAME, with your own user name in place of ORG where you have no other")
    with explained_imports():
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
    api = HfApi()
    try:
        yield api
    except LocalTokenNotFoundError:
        raise InputError("no token for the Hub: run 'hf auth login', or set HF_TOKEN") from None
    except HFValidationError as error:
        raise InputError(f"{name}: no name for a repository ({error})") from error
    except HfHubHTTPError as error:
        raise InputError(f"{name}: the Hub refused ({error.server_message or error})") from error
    except Exception as error:
        # The Hub's library has changed its own for HTTP twice, and only the first raised an OSError.
        if not type(error).__module__.startswith(("httpx", "httpcore", "requests", "urllib3")):
            raise
        raise InputError(
            f"{name}: the Hub at {api.endpoint} does not answer ({error}); the same command goes on when it does"
        ) from error
