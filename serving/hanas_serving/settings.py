"""Settings from the environment, with errors that say which variable and what it may be."""

import ipaddress
import logging
import math
import re
import stat
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from hanas_core.members.timing import PRESETS, Timing
from hanas_core.volume.names import is_nonce

FOLDER, LISTEN = "COMMUNICATION_FOLDER", "HANAS_LISTEN"
_log = logging.getLogger(__name__)
SECRETS, TOKENS, CLIENTS = "HANAS_SECRET_FILE", "HANAS_CLIENT_TOKEN_FILE", "HANAS_CLIENTS_FILE"
"""The variables that name the files of the components' secret, of the tokens of clients, and of clients with rights."""
CLIENT_CA = "HANAS_TLS_CLIENT_CA"
"""... and of the authorities of those who connect, who are asked for certificates then."""
_DEFAULT_FOLDER = "./communication"
_MOST_PORT = 65_535
_EXAMPLE_PORT = 4000
_CONNECTIONS, _MOST_CONNECTIONS = "HANAS_CONNECTIONS", 1_000_000
_IDLE, _IDLE_SECONDS = "HANAS_IDLE_SECONDS", 75.0
_LEAST_IDLE_SECONDS = 10
"""The clients of this project close their idle connections after 5 s, so that they never use one that is being
closed."""
_DRAIN, _MOST_DRAIN_SECONDS = "HANAS_DRAIN_SECONDS", 600
_MOST_DIGITS = 18
_HOST = re.compile(r"\*|(\*\.)?[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\]")


class SettingError(Exception):
    """A setting is wrong, or something that the program needs at its start is not there. One line for people."""


class Backups(StrEnum):
    """What a backup does with what clients ask."""

    REDIRECT = "redirect"
    """It sends them to the main."""
    SERVE = "serve"
    """It answers, and forwards what only the main can do."""


class Public(StrEnum):
    """What anyone may see of a cluster whose clients need a token or a certificate."""

    METRICS = "metrics"
    """The metrics, and the page of the dashboard without its content."""
    ALL = "all"
    """The whole state, but no keys and no values."""
    NONE = "none"
    """Whether a process lives and is ready."""


class Audited(StrEnum):
    """What the audit log has lines about, beside denied calls."""

    ADMIN = "admin"
    """Administrative calls."""
    WRITES = "writes"
    """These, and each write and deletion of a key."""


class ComponentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change while an overseer or a worker runs."""

    port: int
    folder: Path
    folder_is_default: bool
    """No folder was named: an overseer creates the default one if it is missing, and a worker waits for that."""
    folder_id: str | None
    """The id that the folder must have; None: any id is accepted, and an overseer initialises an empty folder."""
    secrets: tuple[str, ...]
    """What components show each other; empty: anyone may act as one."""
    client_tokens: tuple[str, ...]
    """Clients need one of these; empty: anyone may read and write."""
    timing: Timing
    connections: int | None = None
    """Most connections of clients; None: as many as there is room for."""
    idle_seconds: float = _IDLE_SECONDS
    """How long a client's connection may be idle between two requests."""
    drain_seconds: float = 0.0
    """How long to serve on when asked to stop: clients may come until nobody sends them here any more."""
    hosts: tuple[str, ...] = ()
    """Names under which browsers may ask beside those that are known anyway."""
    public: Public = Public.METRICS
    """What anyone may see where clients need a token or a certificate."""
    listen: str = ""
    """The address to listen on; empty: all of them, IPv6 too where there is one."""
    audited: Audited = Audited.ADMIN
    """What the audit log has lines about, beside denied calls."""


def read(environment: Mapping[str, str], default_port: int) -> ComponentSettings:
    """Return the settings that all components have in common. Raises SettingError."""
    folder = environment.get(FOLDER)
    own, tokens = secrets(environment, SECRETS), secrets(environment, TOKENS)
    guarded = next((name for name in (TOKENS, CLIENTS) if environment.get(name)), None)
    if guarded is not None and not (own or environment.get(CLIENT_CA)):
        raise SettingError(
            f"{guarded} is set and {SECRETS} is not: anyone could act as a worker and be sent the tokens of clients; "
            f"set {SECRETS} for all workers and overseers too, or {CLIENT_CA}"
        )
    return ComponentSettings(
        port=port(environment, "PORT", default_port),
        folder=Path(folder or _DEFAULT_FOLDER),
        folder_is_default=not folder,
        folder_id=folder_id(environment),
        secrets=own,
        client_tokens=tokens,
        timing=timing(environment),
        connections=_integer(environment, _CONNECTIONS, 0, "a number", 1, _MOST_CONNECTIONS)
        if environment.get(_CONNECTIONS)
        else None,
        idle_seconds=_decimal(
            _IDLE, environment.get(_IDLE) or str(_IDLE_SECONDS), "a number of seconds", _LEAST_IDLE_SECONDS, 86_400
        ),
        drain_seconds=seconds(environment, _DRAIN, 0, 0, _MOST_DRAIN_SECONDS),
        hosts=hosts(environment),
        public=Public(choice(environment, "HANAS_PUBLIC", tuple(public.value for public in Public))),
        listen=listen(environment),
        audited=Audited(choice(environment, "HANAS_AUDIT", tuple(audited.value for audited in Audited))),
    )


def port(environment: Mapping[str, str], name: str, default: int) -> int:
    """Return a TCP port."""
    return _integer(environment, name, default, "a port number", 1, _MOST_PORT)


def listen(environment: Mapping[str, str]) -> str:
    """Return the address to listen on; empty for all. ``localhost`` means 127.0.0.1."""
    text = environment.get(LISTEN, "")
    if text in {"", "localhost"}:
        return text and "127.0.0.1"
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise SettingError(f"{LISTEN}={text[:60]}: must be localhost, or an address of this machine") from None
    return "" if address.is_unspecified else str(address)


def bytes_count(environment: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """Return a number of bytes within its bounds."""
    return _integer(environment, name, default, "a number of bytes", least, most)


def _integer(environment: Mapping[str, str], name: str, default: int, what: str, least: int, most: int) -> int:
    text = environment.get(name) or str(default)
    digits = text.lstrip("0") or "0"
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS and least <= int(digits) <= most):
        raise SettingError(f"{name}={text[:40]}: must be {what} from {least} to {most}")
    return int(digits)


def seconds(environment: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    """Return a number of seconds, within its bounds."""
    return _decimal(name, environment.get(name) or str(default), "a number of seconds", least, most)


def share(environment: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    """Return a share, a number from 0 to 1, within its bounds."""
    return _decimal(name, environment.get(name) or str(default), "a number", least, most)


def _decimal(name: str, text: str, what: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise SettingError(f"{name}={text}: must be {what} from {least} to {most}")
    return value


def choice(environment: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """Return one of ``choices``; the first is the default."""
    text = environment.get(name) or choices[0]
    if text not in choices:
        raise SettingError(f"{name}={text}: must be one of {', '.join(choices)}")
    return text


def url(environment: Mapping[str, str], name: str, default: str) -> str:
    """Return a base URL without a slash at its end."""
    text = environment.get(name) or default
    if not text.startswith(("http://", "https://")):
        raise SettingError(f"{name}={text}: must begin with http:// or https://")
    try:
        usable = bool(urlsplit(text).hostname) and urlsplit(text).port != 0
    except ValueError:  # a bracket or a port that is none
        usable = False
    if not usable or any(sign.isspace() for sign in text):
        raise SettingError(f"{name}={text}: is no URL; it looks like http://localhost:{_EXAMPLE_PORT}")
    return text.rstrip("/")


def urls(environment: Mapping[str, str], name: str, default: str, scheme: str = "http") -> tuple[str, ...]:
    """Return base URLs, comma-separated; ``scheme``: of ``host:port`` without one."""
    parts = [part.strip() for part in (environment.get(name) or default).split(",") if part.strip()]
    if not parts:
        raise SettingError(f"{name} is empty: give at least one URL")
    return tuple(url({name: part if "://" in part else f"{scheme}://{part}"}, name, part) for part in parts)


def hosts(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return ``HANAS_HOSTS``: names, ``*.`` and a domain, or ``*``, comma-separated."""
    names = tuple(part.strip() for part in environment.get("HANAS_HOSTS", "").split(",") if part.strip())
    for name in names:
        if _HOST.fullmatch(name) is None:
            raise SettingError(
                f"HANAS_HOSTS={name}: must be names without a port, such as a.example.com, *.b.org, or *"
            )
    return names


def secrets(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return the lines of the file that the variable names; none if it is not set."""
    path = environment.get(name)
    if not path:
        return ()
    lines = lines_of(environment, name)
    if stat.S_IMODE(Path(path).stat().st_mode) & stat.S_IROTH:
        _log.warning("%s=%s: every user of this machine can read the file; chmod o= it", name, path)
    return lines


def lines_of(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return the lines of the file that the variable names. Raises SettingError, also if there are none."""
    lines = tuple(line.strip() for line in text_of(environment, name).splitlines() if line.strip())
    if not lines:
        raise SettingError(f"{name}={environment[name]}: the file is empty; put a secret in its first line")
    return lines


def text_of(environment: Mapping[str, str], name: str) -> str:
    """Return the text of the file that the variable names. Raises SettingError."""
    path = environment[name]
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingError(f"{name}={path}: the file cannot be read: {reason}") from None


def folder_id(environment: Mapping[str, str]) -> str | None:
    """Return ``HANAS_FOLDER_ID``, None if it is not set."""
    text = environment.get("HANAS_FOLDER_ID") or None
    if text is not None and not is_nonce(text):
        raise SettingError(f"HANAS_FOLDER_ID={text}: must be 16 to 64 lower-case hexadecimal digits")
    return text


def timing(environment: Mapping[str, str]) -> Timing:
    """Return the preset ``HANAS_PRESET`` with every ``HANAS_<TIMING>`` that is set, in seconds."""
    preset = PRESETS[choice(environment, "HANAS_PRESET", tuple(PRESETS))]
    names = {field.name: f"HANAS_{field.name.upper()}" for field in msgspec.structs.fields(Timing)}
    changes = {
        field: _decimal(name, text, "a number of seconds", 0.001, 3600)
        for field, name in names.items()
        if (text := environment.get(name))
    }
    return msgspec.structs.replace(preset, **changes)
