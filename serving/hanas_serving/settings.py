"""Settings from the environment, with errors that say which variable and what it may be."""

import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from hanas_core.members.timing import PRESETS, Timing
from hanas_core.volume import names

_MOST_PORT = 65_535
_MOST_URL_CHARS = 256
_EXAMPLE_PORT = 4000


class SettingError(Exception):
    """A setting is wrong, or something that the program needs at its start is not there. One line for people."""


def port(environment: Mapping[str, str], name: str, default: int) -> int:
    """Return a TCP port."""
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _MOST_PORT):
        raise SettingError(f"{name}={text}: must be a port number from 1 to {_MOST_PORT}")
    return int(text)


def bytes_count(environment: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """Return a number of bytes within its bounds."""
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise SettingError(f"{name}={text}: must be a number of bytes from {least} to {most}")
    return int(text)


def share(environment: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    """Return a share, a number from 0 to 1, within its bounds."""
    text = environment.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value <= most:
        raise SettingError(f"{name}={text}: must be a number from {least:g} to {most:g}")
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


def urls(environment: Mapping[str, str], name: str, default: str) -> tuple[str, ...]:
    """Return base URLs, comma-separated; ``host:port`` without a scheme means http."""
    parts = [part.strip() for part in (environment.get(name) or default).split(",") if part.strip()]
    if not parts:
        raise SettingError(f"{name} is empty: give at least one URL")
    return tuple(url({name: part if "://" in part else f"http://{part}"}, name, part) for part in parts)


def secrets(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return the lines of the file that the variable names; none if it is not set."""
    path = environment.get(name)
    if not path:
        return ()
    try:
        lines = tuple(line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingError(f"{name}={path}: the file cannot be read: {reason}") from None
    if not lines:
        raise SettingError(f"{name}={path}: the file is empty; put a secret in its first line")
    return lines


def folder_id(environment: Mapping[str, str]) -> str | None:
    """Return ``HANAS_FOLDER_ID``, None if it is not set."""
    text = environment.get("HANAS_FOLDER_ID") or None
    if text is not None and not names.is_nonce(text):
        raise SettingError(f"HANAS_FOLDER_ID={text}: must be 16 to 64 lower-case hexadecimal digits")
    return text


def timing(environment: Mapping[str, str]) -> Timing:
    """Return the preset ``HANAS_PRESET`` with every ``HANAS_<TIMING>`` that is set, in seconds."""
    preset = PRESETS[choice(environment, "HANAS_PRESET", tuple(PRESETS))]
    changed = {}
    for field in msgspec.structs.fields(Timing):
        name = f"HANAS_{field.name.upper()}"
        text = environment.get(name)
        if text:
            changed[field.name] = _seconds(name, text)
    return msgspec.structs.replace(preset, **changed)


def _seconds(name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.001 <= seconds <= 3600:
        raise SettingError(f"{name}={text}: must be a number of seconds from 0.001 to 3600")
    return seconds


def host_name() -> str:
    """Return this machine's name."""
    return socket.gethostname()
