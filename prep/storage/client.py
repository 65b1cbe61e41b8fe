"""obstore clients, one per process, store root and upload size, with timeouts that detect a stall.

Credentials come from the usual chain of each store: environment variables, a web identity, the machine's role. A client
does not survive a fork: its threads stay in the parent, and every call would hang. So a forked process is refused.
"""

import base64
import os
import re
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ...errors import InputError
from ...extras import explained_imports
from .url import StoreUrl

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 10
WHOLE_TIMEOUT_S = 3600
# The client receives nothing while it sends, so its timeout allows for a line this slow. Workers share a line.
MIN_UPLOAD_BYTES_PER_S = 50_000
# obstore retries requests and resumes broken bodies; `store` retries what still fails after that.
CLIENT_RETRIES = 3
ENDPOINT_VARIABLES = {"s3": "AWS_ENDPOINT_URL", "az": "AZURE_STORAGE_ENDPOINT", "hf": "HF_ENDPOINT"}
_SETTINGS = {
    "s3": "the variables AWS_…",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    "hf": "HF_ENDPOINT",
}
MAX_CLIENTS = 64  # a list may have a query for every image

_clients: dict[tuple[int, StoreUrl, int], Any] = {}
_lock = threading.Lock()
_forked_after_use = False


def client_for(url: StoreUrl, *, upload_bytes: int = 0) -> tuple[Any, str]:
    """The obstore client for the store of `url`, and the name of `url` within it.

    A client that sends `upload_bytes` has longer timeouts. It serves up to twice that size, so that few are needed.

    Raises ImportError without obstore, and InputError in a process that was forked from one with clients, and if the
    environment or the URL does not fit.
    """
    if _forked_after_use:
        raise InputError(
            f"{url}: this process was forked from one that had used an object store, whose connections do not survive "
            "a fork; start processes with 'spawn', as multiprocessing.get_context('spawn') does"
        )
    root, name = _split(url)
    allowed = 1 << upload_bytes.bit_length() if upload_bytes else 0
    key = (os.getpid(), root, allowed)
    with _lock:
        if key not in _clients:
            if len(_clients) >= MAX_CLIENTS:
                del _clients[next(iter(_clients))]  # whoever uses it keeps it
            _clients[key] = _checked(root, READ_TIMEOUT_S + allowed / MIN_UPLOAD_BYTES_PER_S)
        return _clients[key], name


def hub_root(url: StoreUrl) -> tuple[str, str, str]:
    """Split an `hf://` URL into `OWNER/NAME`, the revision (`main` by default) and the path in the repository."""
    owner, name, *rest = url.path.split("/")
    name, _, revision = name.partition("@")
    return f"{owner}/{name}", revision or "main", "/".join(rest)


def hub_endpoint() -> str:
    """The URL of the Hugging Face Hub: HF_ENDPOINT or the default."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def hub_headers() -> dict[str, str]:
    """The header with the token from HF_TOKEN or from the token file of the Hub's own tools; empty without a token."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    path = Path(os.environ.get("HF_TOKEN_PATH", home / "token")).expanduser()
    token = os.environ.get("HF_TOKEN") or (path.read_text().strip() if path.is_file() else "")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _split(url: StoreUrl) -> tuple[StoreUrl, str]:
    if url.scheme == "hf":
        repository, revision, name = hub_root(url)
        return StoreUrl("hf", url.host, f"{repository}@{revision}"), name
    if url.exact:
        return url, ""
    return StoreUrl(url.scheme, url.host, "", url.userinfo, url.query), url.path


def _checked(root: StoreUrl, read_timeout_s: float) -> Any:
    try:
        return _connect(root, read_timeout_s)
    except (InputError, ImportError):
        raise
    except Exception as error:  # whose text may contain keys
        if isinstance(error, OSError) and error.filename is not None:
            raise  # the file of a token
        settings = _SETTINGS.get(root.scheme)
        reason = f"check {settings} (docs/scale.md, Credentials)" if settings else "check the name of the server"
    raise InputError(f"{root}: cannot be opened; {reason}")


def _connect(root: StoreUrl, read_timeout_s: float) -> Any:
    with explained_imports():
        from obstore import store
    _refuse_bad_endpoint(ENDPOINT_VARIABLES.get(root.scheme, ""))
    headers: dict[str, str] = {}
    options: Any = {
        "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
        "read_timeout": timedelta(seconds=read_timeout_s),
        "timeout": timedelta(seconds=max(WHOLE_TIMEOUT_S, read_timeout_s)),
    }
    retries: Any = {
        "max_retries": CLIENT_RETRIES,
        "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
    }
    if root.scheme in ("http", "https", "hf"):
        options["allow_http"] = True
        if root.scheme == "hf":
            repository, revision, _ = hub_root(root)
            base = f"{hub_endpoint()}/datasets/{repository}/resolve/{quote(revision, safe='')}"
            headers = hub_headers()
        else:
            base = f"{root.scheme}://{root.host}/{root.exact.lstrip('/')}" + (f"?{root.query}" if root.query else "")
            if root.userinfo:
                headers = {"Authorization": "Basic " + base64.b64encode(root.userinfo.encode()).decode()}
        options["default_headers"] = headers
        return store.HTTPStore(base, client_options=options, retry_config=retries)
    if root.scheme == "s3":
        if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
            options["allow_http"] = True  # an explicit http URL is intended
        # Not all stores can delete many objects in one request, and its answer hides the status of each.
        own: Any = {"checksum_algorithm": "SHA256", "disable_bulk_delete": True, **_profile()}
        return store.S3Store(root.host, client_options=options, retry_config=retries, **own)
    if root.scheme == "gs":
        return store.GCSStore(root.host, client_options=options, retry_config=retries)
    if os.environ.get("AZURE_STORAGE_ENDPOINT", "").startswith("http://"):
        options["allow_http"] = True
    return store.AzureStore(root.host, client_options=options, retry_config=retries)


def _refuse_bad_endpoint(variable: str) -> None:
    """InputError if the variable is set and no URL of a server; the client would end with a panic."""
    value = os.environ.get(variable)
    if value is None:
        return
    try:
        parts = urlsplit(value)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # also for a port that is no number
        is_url = False
    if not is_url or re.search(r"\s", value):  # `urlsplit` ignores white space
        raise InputError(f"{variable}: not a URL; set it to http://HOST:PORT or https://HOST, or unset it")


def _profile() -> dict[str, Any]:
    """Credentials from the shared AWS files if AWS_PROFILE, but no key, is set; obstore itself does not read these."""
    if not os.environ.get("AWS_PROFILE") or os.environ.get("AWS_ACCESS_KEY_ID"):
        return {}
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        raise ImportError("AWS_PROFILE is set, and reading the AWS files needs boto3: pip install boto3") from error
    return {"credential_provider": Boto3CredentialProvider()}


def _after_fork() -> None:
    global _forked_after_use
    _forked_after_use = _forked_after_use or bool(_clients)


os.register_at_fork(after_in_child=_after_fork)
