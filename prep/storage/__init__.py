"""Object stores for sources and shard sets: URLs, and a client that checks what it transfers.

`parse_location` turns user input into a local path or a `StoreUrl`; `ObjectStore` reads and writes the objects under
such a URL. Needs obstore (`pip install 'alexkit[remote]'`), imported when a store is first opened.
"""

from .failures import ArchivedError, ChangedError, CredentialsError, ExpiredError, RefusedError, UnreachableError
from .store import Listed, ObjectStore
from .url import Location, StoreUrl, local_path, parse_location

__all__ = [
    "ArchivedError",
    "ChangedError",
    "CredentialsError",
    "ExpiredError",
    "Listed",
    "Location",
    "ObjectStore",
    "RefusedError",
    "StoreUrl",
    "UnreachableError",
    "local_path",
    "parse_location",
]
