"""The addresses of the cluster and the time limits of a call: arguments first, then the environment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from hanas_serving.settings import SettingError
from hanas_serving.tls_files import CA, CERT, KEY, TlsFiles
from hanas_serving.tls_files import read as read_files

DEFAULT_OVERSEER = "localhost:4000"


@dataclass(frozen=True, slots=True)
class Policy:
    """The time limits of a call, in seconds.

    `deadline`: the limit of the whole call. `first_contact`: the limit while no server has answered (None: the
    deadline). `connect` and `read`: the limits of one attempt at a worker. The first attempt has `connect_first` and
    `read_first`, and each one after a time-out twice as much, up to those: a dead address and a paused main never
    answer, while the successor does within a second. `lookup`: the limit of one request to an overseer. The wait
    between rounds starts at `backoff_start` and doubles up to `backoff_cap`: a takeover takes less than a second.

    `any_worker`: go to one of the workers that are known, and stay there, instead of to the main: for a cluster whose
    backups serve (`HANAS_BACKUPS=serve`), so that its clients spread. One that redirects is followed.
    """

    deadline: float = 30.0
    first_contact: float | None = None
    connect: float = 5.0
    connect_first: float = 0.3
    read: float = 5.0
    read_first: float = 1.0
    lookup: float = 1.0
    backoff_start: float = 0.02
    backoff_cap: float = 0.25
    any_worker: bool = False


def parse_urls(addresses: str | Iterable[str], scheme: str = "http") -> tuple[str, ...]:
    """Return base URLs from a comma-separated string or several; `scheme` is that of `host:port` alone.

    Raises ValueError for an invalid address.
    """
    parts = addresses.split(",") if isinstance(addresses, str) else list(addresses)
    return tuple(dict.fromkeys(_base_url(part.strip(), scheme) for part in parts if part.strip()))


def _base_url(address: str, scheme: str) -> str:
    url = address if "://" in address else f"{scheme}://{address}"
    valid = False
    with contextlib.suppress(ValueError):  # a bad port or IPv6 address
        split = urlsplit(url)
        valid = split.scheme in {"http", "https"} and bool(split.hostname) and split.port != 0
        valid = valid and not split.query and not split.fragment
    if not valid:
        raise ValueError(f"{address!r} is not the address of a server; it looks like http://localhost:4000")
    return url.rstrip("/")


def addresses(
    overseers: str | Iterable[str] | None,
    servers: str | Iterable[str] | None,
    environment: Mapping[str, str] = os.environ,
    scheme: str = "http",
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the URLs of the overseers and of the workers.

    Arguments take precedence over OVERSEER_IP and HANAS_SERVER. With workers only, there is no overseer; without
    either, the overseer is at localhost:4000.
    """
    worker_urls = parse_urls(environment.get("HANAS_SERVER", "") if servers is None else servers, scheme)
    overseer_urls = parse_urls(environment.get("OVERSEER_IP", "") if overseers is None else overseers, scheme)
    if not overseer_urls and not worker_urls:
        overseer_urls = parse_urls(DEFAULT_OVERSEER, scheme)
    return overseer_urls, worker_urls


def tls_files(
    cacert: str | Path | None = None,
    cert: str | Path | None = None,
    key: str | Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> TlsFiles:
    """Return the authorities to trust, and the certificate to show. Arguments take precedence over HANAS_TLS_….

    Raises ValueError if there is half a certificate.
    """
    if cert or key:  # never a certificate of the arguments with a key of the environment
        environment = {name: value for name, value in environment.items() if name not in {CERT, KEY}}
    names = {CA: cacert, CERT: cert, KEY: key}
    chosen = {name: str(value) if value else environment.get(name, "") for name, value in names.items()}
    try:
        return read_files(chosen)
    except SettingError as error:
        raise ValueError(str(error)) from None


def client_token(file: str | Path | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the bearer token: the first line of `file`, or of HANAS_CLIENT_TOKEN_FILE; None without either.

    Raises ValueError when the file cannot be read or its first line is empty.
    """
    path = file if file is not None else environment.get("HANAS_CLIENT_TOKEN_FILE")
    if not path:
        return None
    try:
        with open(path, encoding="ascii") as stream:
            token = stream.readline().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the client token cannot be read from {path}: {error}") from None
    if not token:
        raise ValueError(f"the first line of {path} is empty; it should be the client token")
    return token
