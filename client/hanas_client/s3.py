"""Archives in a bucket that speaks S3: `s3://BUCKET/KEY`, with the usual variables of the environment.

obstore carries it out: uploads in parts, which are given up if one fails, retries, and signatures. Paths of buckets are
`ENDPOINT/BUCKET`, which every service knows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hanas_client.errors import HanasError

if TYPE_CHECKING:
    from obstore.store import S3Store

SCHEME = "s3://"
_PART_BYTES = 16 << 20
"""An upload has 10,000 parts at most."""
_READ_BYTES = 4 << 20
_TOLD = re.compile(r"<(Code|Message)>([^<]*)</")
"""The parts of an error document of S3 that are for people."""


def is_s3(place: str) -> bool:
    """Return whether a place is in a bucket."""
    return place.startswith(SCHEME)


@contextmanager
def _store(place: str) -> Iterator[tuple[S3Store, str]]:
    """Yield the bucket and the key. Raises HanasError, also for what goes wrong with them; ValueError."""
    bucket, _, key = place.removeprefix(SCHEME).partition("/")
    if not bucket or not key or key.endswith("/"):
        raise ValueError(f"{place}: must be s3://BUCKET/KEY")
    try:
        from obstore import exceptions, store  # noqa: PLC0415  # an extra, which takes 0.1 s to load
    except ImportError:
        raise HanasError("archives in S3 need obstore; install it with: pip install 'hanas[s3]'") from None
    try:
        yield store.S3Store(bucket, **_settings(os.environ)), key
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise HanasError(
            f"{place}: {_answer(error)}; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, and the rights on "
            "the bucket"
        ) from None
    except (exceptions.BaseError, FileNotFoundError, PermissionError) as error:
        raise HanasError(f"{place}: {_answer(error)}") from None


def _answer(error: Exception) -> str:
    """Return what the service answered, without the request; or the first line of the error."""
    text = str(error)
    told = dict(_TOLD.findall(text))
    if not told:
        return text.splitlines()[0]
    return f"the service answers {': '.join(told[part].rstrip('.') for part in ('Code', 'Message') if part in told)}"


def _settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of obstore for the variables that are set."""
    names = {
        "AWS_ACCESS_KEY_ID": "access_key_id",
        "AWS_SECRET_ACCESS_KEY": "secret_access_key",
        "AWS_SESSION_TOKEN": "session_token",
        "AWS_ENDPOINT_URL": "endpoint",
    }
    given: dict[str, Any] = {option: environment[name] for name, option in names.items() if environment.get(name)}
    return {
        **given,
        "region": environment.get("AWS_REGION") or "us-east-1",
        "virtual_hosted_style_request": False,
        "client_options": {"allow_http": True},
    }


@contextmanager
def writing(place: str) -> Iterator[Any]:
    """Yield what takes the content of an object; it is there when this ends without an error. Raises HanasError."""
    with _store(place) as (store, key):
        from obstore import open_writer  # noqa: PLC0415

        with open_writer(store, key, buffer_size=_PART_BYTES) as writer:
            yield writer


@contextmanager
def reading(place: str) -> Iterator[Iterable[bytes]]:
    """Yield the lines of an object. Raises HanasError."""
    with _store(place) as (store, key):
        from obstore import get  # noqa: PLC0415

        yield _lines(get(store, key).stream(min_chunk_size=_READ_BYTES))


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + bytes(chunk)).split(b"\n")
        yield from (line + b"\n" for line in lines)
    if rest:
        yield rest


def names_beside(place: str) -> list[str]:
    """Return the names that stand beside an object, below the same prefix. Raises HanasError."""
    with _store(place) as (store, key):
        from obstore import list_with_delimiter  # noqa: PLC0415

        prefix = key.rpartition("/")[0]
        paths = list_with_delimiter(store, prefix=prefix or None)["objects"]
        return [one["path"].rpartition("/")[2] for one in paths]


def remove_beside(place: str, names: Iterable[str]) -> None:
    """Remove objects that stand beside one. Raises HanasError."""
    with _store(place) as (store, key):
        from obstore import delete  # noqa: PLC0415

        prefix = key.rpartition("/")[0]
        for name in names:
            delete(store, f"{prefix}/{name}" if prefix else name)
