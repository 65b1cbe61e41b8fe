"""Uploading a folder to the Hugging Face Hub, private unless asked otherwise."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from .errors import InputError
from .extras import explained_imports

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def push_folder(
    folder: Path,
    name: str,
    *,
    kind: Literal["dataset", "model"],
    public: bool,
    card: str,
    patterns: Sequence[str],
    into: str = "",
) -> str:
    """Upload the files of a folder that match, and a card; the repository's address.

    A file that is there already with the same content is not sent again, so an interrupted upload goes on.

    Args:
        folder: the folder to upload.
        name: the repository, ORG/NAME; it is made when it is not there.
        kind: whether it holds a dataset or a model.
        public: whether a new repository can be seen by everybody; one that is there stays as it is.
        card: the text of the repository's README.md.
        patterns: which files to send, as `fnmatch` has them.
        into: the folder in the repository.

    Raises InputError for a name that is none, for what the Hub refuses and when it does not answer, ImportError without
    huggingface_hub.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"{name}: expected ORG/NAME, with your own user name in place of ORG where you have no other")
    with explained_imports():
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
    api = HfApi()
    try:
        api.create_repo(name, repo_type=kind, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=name,
            repo_type=kind,
            folder_path=folder,
            path_in_repo=into,
            allow_patterns=list(patterns),
            commit_message=f"Upload {folder.name}",
        )
        api.upload_file(
            path_or_fileobj=card.encode(),
            path_in_repo="README.md",
            repo_id=name,
            repo_type=kind,
            commit_message="Describe what is here",
        )
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
    prefix = "datasets/" if kind == "dataset" else ""
    return f"{api.endpoint}/{prefix}{name}"
