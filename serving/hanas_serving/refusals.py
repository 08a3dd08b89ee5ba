"""Errors that were answered: how many of each status, one line of log a minute, and an end to guessing tokens."""

import asyncio
import ipaddress
import logging
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from hanas_serving.problems import Problem

MOST_FAILURES = 100
"""Failed authentications of one address within a minute; further ones are answered 429."""
_MINUTE = 60.0
_MOST_ADDRESSES = 4096
_LOGGED = frozenset({400, 401, 403, 413, 414, 415, 417, 421, 429, 431, 501})
"""What careless or hostile clients are answered, and not what happens in normal use, as 404 and 412 do."""
_IPV6_NETWORK_BITS = 64

_log = logging.getLogger("hanas.serving")


class Refusals(Collector):
    """What one process refused."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._counts: Counter[int] = Counter()
        self._unsaid: Counter[int] = Counter()
        self._said: dict[int, float] = {}
        """When the last line about a status was written."""
        self._failures: dict[str, tuple[float, int]] = {}
        """By address: when its minute began, and its failed authentications since."""

    def count(self, status: int, address: str) -> None:
        """Note an error that is answered."""
        self._counts[status] += 1
        if status not in _LOGGED:
            return
        self._unsaid[status] += 1
        now = asyncio.get_running_loop().time()
        if now - self._said.get(status, -_MINUTE) >= _MINUTE:
            times = self._unsaid.pop(status)
            self._said[status] = now
            _log.warning(
                "answered %d %s %d times since the last such line, the last time to %s; at most one such line a minute",
                status,
                HTTPStatus(status).phrase,
                times,
                address or "a client that is gone",
            )

    def unauthorized(self, problem: Problem, address: str) -> Problem:
        """Return the answer to a caller without a valid token: ``problem``, or 429 after too many tries."""
        network, now = _network(address), asyncio.get_running_loop().time()
        since, failures = self._failures.get(network, (now, 0))
        if now - since >= _MINUTE:
            since, failures = now, 0
        if network not in self._failures and len(self._failures) >= _MOST_ADDRESSES:
            del self._failures[next(iter(self._failures))]
        self._failures[network] = since, failures + 1
        if failures < MOST_FAILURES:
            return problem
        wait = int(since + _MINUTE - now) + 1
        detail = f"{MOST_FAILURES} tries without a valid token came from {address} within a minute: wait {wait} s"
        return Problem(429, f"{detail}, or send a valid one, which is always let in", {"retry-after": str(wait)})

    def collect(self) -> Iterator[Metric]:
        """Yield the metric."""
        family = CounterMetricFamily("hanas_http_errors", "Errors that were answered, by status.", labels=["status"])
        for status, count in sorted(self._counts.items()):
            family.add_metric([str(status)], count)
        yield family


def _network(address: str) -> str:
    """Return ``address``; of an IPv6 address its network, since each host has as many of them as it wants."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, _IPV6_NETWORK_BITS), strict=False))
