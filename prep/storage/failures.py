"""Rewords the errors of store clients, whose own text can contain signed URLs and keys.

Distinguishes an object that is missing, changed or archived; credentials that the store rejects (which is not the fault
of any object); refusals that may concern one object or all of them; and failures that may be temporary.
"""

import errno
import os
import re
from typing import NamedTuple
from urllib.parse import unquote

from ...errors import InputError
from .url import StoreUrl

ATTEMPTS = 5
_TEMPORARY = (408, 425, 429)
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_REQUESTED = re.compile(r"Error performing [A-Z]+ (\S+) in ")
_URL = re.compile(r"https?://\S+")
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")
_NAMED = re.compile(r'Path "(.*?)"', re.DOTALL)
_NO_BUCKET = re.compile(r"<Code>(NoSuchBucket|ContainerNotFound)</Code>")
_OTHER_REGION = re.compile(
    r"<Code>(PermanentRedirect|IllegalLocationConstraintException)</Code>"
    r"|<Code>AuthorizationHeaderMalformed</Code>.*<Region>",
    re.DOTALL,
)
_REGION = re.compile(r"<Region>([a-z0-9-]+)</Region>")
# What S3, GCS and Azure answer, with status 400 or 403, if no object can be read with these credentials.
_OF_CREDENTIALS = re.compile(
    r"<Code>(ExpiredToken|InvalidToken|TokenRefreshRequired|InvalidAccessKeyId|SignatureDoesNotMatch|RequestExpired"
    r"|RequestTimeTooSkewed|InvalidSecurity|AccountProblem|NotSignedUp|AuthenticationFailed|InvalidAuthenticationInfo"
    r"|NoAuthenticationInformation|AccountIsDisabled)</Code>"
)
# What they answer to presigned URLs: S3, GCS, Azure.
_EXPIRED = re.compile(r"Request has expired|<Code>ExpiredToken</Code>|Signature not valid in the specified time frame")
# S3 with 403, Azure with 409.
_ARCHIVED = re.compile(r"<Code>(InvalidObjectState|BlobArchived|BlobBeingRehydrated)</Code>")
# Where clients request credentials, not objects.
_GIVES_CREDENTIALS = re.compile(
    r"https?://(169\.254\.\d+\.\d+|\[fd00:ec2::\w+\]|metadata(\.google\.internal)?|sts\.[^/]*|oauth2\.googleapis\.com"
    r"|iamcredentials\.googleapis\.com|login\.microsoftonline\.[^/]*)[:/]"
    r"|/latest/(api/token|meta-data/iam/)|/metadata/identity/oauth2/|/computeMetadata/"
)


class ChangedError(InputError):
    """An object is not the version that was requested."""


class ArchivedError(InputError):
    """An object is in an archive tier, such as S3 Glacier, and must be restored before it can be read."""


class CredentialsError(PermissionError):
    """A store rejects the credentials, they have expired, or none were found: not the fault of any object."""


class RefusedError(PermissionError):
    """A store refuses an object. Only reading other objects shows whether it refuses this one or all."""


class ExpiredError(RefusedError):
    """A presigned URL has expired."""


class UnreachableError(OSError):
    """A web server cannot be reached, or fails, in every attempt; it may be gone for good, as in a list of links."""


class Damaged(Exception):
    """The transferred content is not what was expected; another attempt may help."""


class Failure(NamedTuple):
    """What to raise, and whether another attempt may help."""

    error: Exception
    temporary: bool
    is_busy: bool = False
    """Whether the server asks for fewer requests."""


def in_our_words(error: Exception, url: StoreUrl, path: str, *, has_answered: bool) -> Failure:
    """Translate an error of the client.

    Args:
        error: What the client raised.
        url: The requested URL.
        path: The name of the object in its store, as passed to the client; the client's text may contain it.
        has_answered: Whether the store has answered this process before, so that there are credentials.
    """
    where = str(url)
    if isinstance(error, Damaged):
        return Failure(
            OSError(errno.EIO, f"not what was expected in each of {ATTEMPTS} attempts: {error}", where), True
        )
    if isinstance(error, (InputError, MemoryError)):
        return Failure(error, False)
    kind = type(error).__name__
    if kind == "InvalidPathError" or (isinstance(error, ValueError) and "Could not parse path" in str(error)):
        return Failure(_unreadable_name(str(error), where, path), False)
    of_hub = kind == "HTTPError"  # of urllib: an OSError whose `filename` is the URL
    of_disk = isinstance(error, OSError) and error.filename is not None
    if of_disk and not of_hub and not isinstance(error, FileNotFoundError):
        return Failure(error, False)
    said = _Said.of(str(error), path)
    code = getattr(error, "code", 0) if of_hub else said.status
    if said.asked_for_credentials:
        may_pass = code in _TEMPORARY or code >= 500 or (not code and has_answered)
        return Failure(_no_credentials(where, code), may_pass, is_busy=code in (429, 503))
    if url.scheme == "s3" and ("redirect without location" in said.words or _OTHER_REGION.search(said.body)):
        return Failure(_other_region(said.body, where), False)
    if isinstance(error, FileNotFoundError) or code == 404:
        if _NO_BUCKET.search(said.body):
            return Failure(OSError(errno.EIO, "its bucket or container does not exist; check the URL", where), False)
        return Failure(FileNotFoundError(errno.ENOENT, "no such object", where), False)
    if kind == "PreconditionError" or code == 412:
        return Failure(ChangedError(f"{where}: changed since it was listed; run the command again"), False)
    if code in (403, 409) and _ARCHIVED.search(said.body):
        return Failure(ArchivedError(f"{where}: archived by its store; restore it there before reading it"), False)
    denied = kind in ("PermissionDeniedError", "UnauthenticatedError") or code in (401, 403)
    of_credentials = code in (400, 403) and _OF_CREDENTIALS.search(said.body) is not None
    if denied or of_credentials:
        # A web server may ask for a password for a single file; elsewhere credentials are for a whole store.
        is_web = url.scheme in ("http", "https")
        if is_web and _EXPIRED.search(said.body):
            return Failure(ExpiredError(errno.EACCES, "the URL has expired; sign the URLs again", where), False)
        of_all = not is_web and (code not in (0, 403) or of_credentials)
        return Failure(_denied(where, CredentialsError if of_all else RefusedError), False)
    if not code and "credential" in said.words:
        return Failure(_no_credentials(where, 0), has_answered)
    return _of_the_way(error, said, code, url)


def _of_the_way(error: Exception, said: "_Said", code: int, url: StoreUrl) -> Failure:
    """All other failures: a server that fails or refuses the request, and broken connections."""
    where = str(url)
    found_another_hash = code == 400 and ("BadDigest" in said.body or "Mismatch" in said.body)
    is_permanent = 300 <= code < 500 or code == 501  # "Not Implemented"
    if is_permanent and code not in _TEMPORARY and not found_another_hash:
        does = "does not support" if code == 501 else "refused"
        return Failure(RefusedError(errno.EACCES, f"the server {does} the request (status {code})", where), False)
    may_be_gone = url.scheme in ("http", "https") and code not in (*_TEMPORARY, 503)
    error_of = UnreachableError if may_be_gone else OSError
    if not code and (found := _CERTIFICATE.search(str(error))):
        reason = f"the server's certificate is not accepted ({found[1]}); SSL_CERT_FILE can name the file of its CA"
        return Failure(error_of(errno.EIO, reason, where), False)
    if code:
        reason = f"the server answered with status {code}"
    elif "timed out" in said.words or "timedout" in said.words or isinstance(error, TimeoutError):
        reason = "the server stopped answering"
    elif "failed to lookup address" in said.words:
        reason = "the name of the server was not found"
    else:
        reason = "the connection failed or broke"
    error_of_all = error_of(errno.EIO, f"{reason}, in each of {ATTEMPTS} attempts; try again later", where)
    return Failure(error_of_all, True, is_busy=code in (429, 503))


class _Said(NamedTuple):
    """The parts of a client's text, without names of objects and URLs, which can contain any word."""

    status: int
    """Status of the server's answer; 0 if there was none."""
    words: str
    """The client's own words, in lower case."""
    body: str
    """The body of the server's answer."""
    asked_for_credentials: bool
    """Whether the request that failed was one for credentials."""

    @classmethod
    def of(cls, text: str, path: str) -> "_Said":
        """Parse the text of an exception about the object `path`."""
        _, begins, rest = (text.partition(path)[2] or text).partition("Error performing") if path else ("", "", "")
        text = begins + rest if begins else text
        requested = _REQUESTED.search(text)
        requested_url = unquote(requested[1].partition("?")[0]).removesuffix(path) if requested else ""
        own_source = os.environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        status = _STATUS.search(text)
        words, body = (text[: status.start()], text[status.end() :]) if status else (text, "")
        if path and not requested:
            words = words.replace(path, "")
        return cls(
            int(status[1]) if status else 0,
            _URL.sub("", words).lower(),
            body,
            _GIVES_CREDENTIALS.search(requested_url) is not None
            or "Error performing token request" in words
            or (own_source is not None and requested_url.startswith(own_source)),
        )


def _unreadable_name(text: str, where: str, path: str) -> InputError:
    named = _NAMED.search(text)
    return InputError(
        f"{where}: the client cannot read the name {named[1] if named else path!r}; names must not contain '//', "
        "'/./', '/../' or control characters; rename the object"
    )


def _other_region(body: str, where: str) -> OSError:
    named = _REGION.search(body)
    return OSError(
        errno.EIO, f"its bucket is in another region{f', {named[1]}' if named else ''}; set AWS_REGION to it", where
    )


def _denied(where: str, kind: type[OSError]) -> OSError:
    advice = "check the credentials in the environment and their permissions (docs/scale.md, Credentials)"
    return kind(errno.EACCES, f"access denied; {advice}", where)


def _no_credentials(where: str, code: int) -> CredentialsError:
    found = f"the provider of credentials answered with status {code}" if code else "no credentials found"
    advice = "set them in the environment (docs/scale.md, Credentials)"
    if where.startswith("s3://"):
        advice += ", or name a profile of ~/.aws in AWS_PROFILE; for a public bucket set AWS_SKIP_SIGNATURE=true"
    return CredentialsError(errno.EACCES, f"{found}; {advice}", where)
