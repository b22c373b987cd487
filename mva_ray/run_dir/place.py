"""Where a run is: a path, or a URL of an object store, and what each library needs to open that.

Credentials come from the environment alone, by the names that the clouds' own tools use (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL; GOOGLE_APPLICATION_CREDENTIALS;
AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY), or from the machine's own role.
"""

import os
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mva_ray.errors import ConfigError

if TYPE_CHECKING:
    from obstore.store import ObjectStore
    from pyarrow.fs import FileSystem

S3, GOOGLE, AZURE = ("s3",), ("gs",), ("az", "abfs", "abfss")
QUICK_RETRIES = 3
"""Of a library itself; whoever waits longer says so (`patience.py`)."""
ARROW_ATTEMPTS = 40
"""Ray does not wait longer, so Arrow does: about ten seconds after each attempt but the first ones."""


def is_url(place: str | Path) -> bool:
    """Whether it names an object store; `file://` is a path."""
    return "://" in str(place) and not str(place).startswith("file://")


def absolute(place: str | Path) -> str:
    """An absolute path, or a URL without a slash at its end.

    Raises:
        ConfigError: a URL of another scheme, or without a bucket.
    """
    text = str(place)
    if not is_url(text):
        return os.path.abspath(os.path.expanduser(text.removeprefix("file://")))
    parts = urlsplit(text)
    if parts.scheme not in (*S3, *GOOGLE, *AZURE) or not parts.netloc:
        raise ConfigError(text, ["expected a path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"])
    return text.rstrip("/")


def joined(place: str | Path, name: str) -> str:
    """The place of what has this name under another place."""
    return f"{place}/{name}"


def name_of(place: str) -> str:
    """The last part of a place."""
    return place.rpartition("/")[2]


@lru_cache
def object_store(url: str) -> "ObjectStore":
    """For conditional puts and small files; deltalake is built on the same library."""
    from obstore.store import from_url

    retries = {"max_retries": QUICK_RETRIES, "retry_timeout": timedelta(seconds=30)}
    options: dict[str, Any] = {"client_options": {"allow_http": _over_http()}, "retry_config": retries}
    return from_url(url, **options)


def delta_options(place: str) -> dict[str, str] | None:
    """deltalake's `storage_options`; None for a path."""
    if not is_url(place):
        return None
    return {"allow_http": str(_over_http()).lower(), "max_retries": str(QUICK_RETRIES), "retry_timeout": "30s"}


def arrow_files(place: str | Path) -> tuple["FileSystem", str]:
    """Arrow's own file system, which Ray Train and Tune use, too, and the path in it."""
    from pyarrow import fs

    if not is_url(place):
        return fs.LocalFileSystem(), str(place)
    parts = urlsplit(str(place))
    path = f"{parts.netloc.partition('@')[0]}{parts.path}"
    if parts.scheme in S3:
        return fs.S3FileSystem(**_s3_options()), path
    if parts.scheme in GOOGLE:
        return fs.GcsFileSystem(), path
    return fs.AzureFileSystem(**_azure_options(parts.netloc)), path


def _s3_options() -> dict[str, Any]:
    from pyarrow.fs import AwsStandardS3RetryStrategy as S3Retries

    endpoint = _endpoint()
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ("us-east-1" if endpoint else None)
    patience = S3Retries(max_attempts=ARROW_ATTEMPTS)
    return {"endpoint_override": endpoint, "region": region, "connect_timeout": 10, "retry_strategy": patience}


def _azure_options(netloc: str) -> dict[str, Any]:
    account = netloc.partition("@")[2].partition(".")[0] or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
    return {"account_name": account, "account_key": os.environ.get("AZURE_STORAGE_ACCOUNT_KEY")}


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _over_http() -> bool:
    return (_endpoint() or "").startswith("http://")
