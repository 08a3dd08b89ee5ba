"""The names under which this process is asked for things: what a browser's ``Host`` may be, and whose pages may write.

A page can have its own name resolve to any address, this one too, and then reads and writes here as if it were ours
(DNS rebinding). A browser tells the name, and no page can forge that. Addresses and names without a dot cannot be
pointed elsewhere from outside, nor can names below the domains that are reserved or this machine's own.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

ANY = "*"
_RESERVED = (".localhost", ".local", ".internal", ".home.arpa", ".test", ".svc")
"""Domains that nobody can register: RFC 6761, RFC 6762, RFC 8375, ICANN's resolution 2024.07.29.06; Kubernetes."""
_PORT = re.compile(r":[0-9]*\Z")
_RESOLVER = Path("/etc/resolv.conf")
_MOST_REMEMBERED = 64


class Hosts:
    """The names of this process."""

    def __init__(self, listed: Iterable[str] = (), own: Iterable[str] = (), domains: Iterable[str] = ()) -> None:
        """Know the hosts of ``listed`` (``*.example.com`` for those below a domain, ``*`` for all), ``own`` and
        whatever is below ``domains``.
        """
        names = [name.lower() for name in listed]
        self._any = ANY in names
        self._listed = frozenset(name for name in names if not name.startswith("*"))
        self._listed_domains = tuple(name[1:] for name in names if name.startswith("*."))
        self._own = frozenset(name.lower() for name in own)
        self._domains = (*_RESERVED, *(f".{domain.lower().strip('.')}" for domain in domains))
        self.knows = lru_cache(_MOST_REMEMBERED)(self._decide)
        """Return whether a ``Host`` is one of this process."""

    def _decide(self, host: bytes) -> bool:
        name = name_of(host.decode("latin-1"))
        if self._any or "." not in name or _is_address(name):
            return True
        return name in self._own or name.endswith(self._domains) or self.lists(name)

    def lists(self, name: str) -> bool:
        """Return whether ``name`` is one that people have listed."""
        return name in self._listed or name.endswith(self._listed_domains)


def name_of(host: str) -> str:
    """Return a ``Host`` without its port, in lower case."""
    return _PORT.sub("", host.strip()).lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def is_loopback(address: str) -> bool:
    """Return whether a peer with this address is on this machine."""
    return _is_address(address) and ipaddress.ip_address(address).is_loopback


def of_this_machine(listed: Iterable[str], urls: Iterable[str] = ()) -> Hosts:
    """Return the names in ``listed`` and ``urls``, this machine's, and those below the domains that it searches."""
    own = (socket.gethostname(), *(urlsplit(url).hostname or "" for url in urls))
    return Hosts(listed, own, search_domains(_RESOLVER))


def search_domains(resolver: Path) -> list[str]:
    """Return the domains in a ``resolv.conf``; none if it cannot be read."""
    try:
        lines = resolver.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    domains = []
    for line in lines:
        keyword, *names = line.split() or [""]
        if keyword in {"search", "domain"}:
            domains += [name for name in names if name.strip(".")]
    return domains
