"""An authority and the certificates that it has signed, in one directory: NAME.crt and NAME.key each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from hanas_client.errors import HanasError
from hanas_core.volume import names
from hanas_serving import certificates
from hanas_serving.certificates import Pair

AUTHORITY = "ca"
"""The name of the authority's files."""
OVERSEER = "overseer"
HERE = ("localhost", "127.0.0.1", "::1")
"""How others on the same machine reach a component."""


def create(
    directory: Path, workers: Iterable[str], clients: Iterable[str], hosts: Sequence[str], days: float
) -> list[str]:
    """Make an authority, and certificates of an overseer, of ``workers`` and of ``clients``; return their names.

    Raises HanasError if any of the files is there already, OSError.
    """
    everyone = [AUTHORITY, OVERSEER, *workers, *clients]
    _check(directory, everyone)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    now = datetime.now(UTC)
    authority = certificates.authority(f"HANas {directory.absolute().name}", now)
    _write(directory, AUTHORITY, authority)
    for name in (OVERSEER, *workers):
        _write(directory, name, certificates.component(authority, name, (*HERE, *hosts), now, days))
    for name in clients:
        _write(directory, name, certificates.client(authority, name, now, days))
    return everyone


def add(
    directory: Path, workers: Iterable[str], clients: Iterable[str], hosts: Sequence[str], days: float
) -> list[str]:
    """Have the authority in ``directory`` sign further certificates; return their names. Raises as `create` does."""
    _check(directory, everyone := [*workers, *clients])
    authority, now = _read(directory, AUTHORITY), datetime.now(UTC)
    for name in workers:
        _write(directory, name, certificates.component(authority, name, (*HERE, *hosts), now, days))
    for name in clients:
        _write(directory, name, certificates.client(authority, name, now, days))
    return everyone


def renew(directory: Path, days: float) -> list[str]:
    """Replace every certificate and key but the authority's by new ones with the same names; return these.

    Raises HanasError, OSError.
    """
    authority, now = _read(directory, AUTHORITY), datetime.now(UTC)
    others = sorted(path.stem for path in directory.glob("*.crt") if path.stem != AUTHORITY)
    for name in others:
        hosts = certificates.facts(_read(directory, name).certificate).names
        if hosts:
            pair = certificates.component(authority, name, hosts, now, days)
        else:
            pair = certificates.client(authority, name, now, days)
        _write(directory, name, pair)
    return others


def _check(directory: Path, everyone: list[str]) -> None:
    for name in everyone:
        if not names.is_member(name):
            raise ValueError(f"{name!r} is no name: letters, digits, '.', '_' and '-', a letter or a digit first")
        if everyone.count(name) > 1:
            raise ValueError(f"{name} is named twice, or is the name of another certificate here")
        for path in _paths(directory, name):
            if path.exists():
                raise HanasError(f"{path} is there already; choose another directory, or see `hanas certs renew`")


def _paths(directory: Path, name: str) -> tuple[Path, Path]:
    return directory / f"{name}.crt", directory / f"{name}.key"


def _read(directory: Path, name: str) -> Pair:
    certificate, key = _paths(directory, name)
    return Pair(certificate.read_bytes(), key.read_bytes())


def _write(directory: Path, name: str, pair: Pair) -> None:
    """Write both files, each in one step; only their owner reads the key."""
    for path, content, mode in zip(_paths(directory, name), (pair.certificate, pair.key), (0o644, 0o600), strict=True):
        new = path.with_name(f".{path.name}.new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
        new.replace(path)
