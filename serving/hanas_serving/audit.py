"""The audit log: a line of JSON for each call that was denied, each administrative one and, on request, each write.

A line never holds a token, a value or a header. Lines about denied calls are limited: nobody fills a disk with them.
"""

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from hanas_serving.principals import Action, Principal
from hanas_serving.problems import Problem
from hanas_serving.settings import Audited

LOGGER = "hanas.audit"
MOST_AT_ONCE = 100
"""Lines about denied calls without a pause."""
REFILL_SECONDS = 1.0
"""A further line about a denied call after each of these."""
_MOST_CHARS = 1024
_log = logging.getLogger(LOGGER)


@contextmanager
def written_to(stream: TextIO) -> Iterator[None]:
    """Write the lines to ``stream``, as they are, whatever the level of the other log is."""
    handler, level = logging.StreamHandler(stream), _log.level
    handler.setFormatter(logging.Formatter("%(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.propagate = False
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(level)
        _log.propagate = True


class Administered:
    """An administrative call that is under way."""

    def __init__(self, about: str) -> None:
        """Concern the member ``about``."""
        self.about = about
        self.status = 204
        """Of the answer, unless that is an error."""


class Audit(Collector):
    """The audit log of one process."""

    def __init__(self, member: str = "", audited: Audited = Audited.ADMIN) -> None:
        """Write lines that name ``member`` as the process."""
        self._member = member
        self.of_writes = audited is Audited.WRITES
        self._left, self._since = float(MOST_AT_ONCE), 0.0
        self._unsaid = 0
        self._lines = {"denied": 0, "admin": 0, "write": 0}
        self._dropped = 0

    def denied(self, principal: Principal, action: Action, key: bytes, address: str, status: int) -> None:
        """Note a call that was denied."""
        now = asyncio.get_running_loop().time()
        self._left = min(MOST_AT_ONCE, self._left + (now - self._since) / REFILL_SECONDS)
        self._since = now
        if self._left < 1:
            self._unsaid += 1
            self._dropped += 1
            return
        self._left -= 1
        more = {"unsaid": self._unsaid} if self._unsaid else {}
        self._unsaid = 0
        self._write("denied", principal, action, _text(key), address, status, more)

    @contextmanager
    def administering(self, principal: Principal, call: str, address: str, about: str = "") -> Iterator[Administered]:
        """Note an administrative call when it is answered. ``about``: the member that it concerns."""
        administered = Administered(about)
        status = 500
        try:
            yield administered
            status = administered.status
        except Problem as problem:
            status = problem.status
            raise
        finally:
            more = {"call": call, "about": administered.about[:_MOST_CHARS]}
            self._write("admin", principal, Action.ADMIN, "", address, status, more)

    def written(self, principal: Principal, action: Action, key: str, address: str, status: int) -> None:
        """Note a write, or a deletion, and how it was answered."""
        self._write("write", principal, action, key, address, status, {})

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        lines = CounterMetricFamily("hanas_audit_lines", "Lines of the audit log, by kind.", labels=["kind"])
        for kind, count in self._lines.items():
            lines.add_metric([kind], count)
        yield lines
        yield CounterMetricFamily(
            "hanas_audit_dropped", "Denied calls without a line in the audit log: too many at once.", self._dropped
        )

    def _write(
        self,
        kind: str,
        principal: Principal,
        action: Action,
        key: str,
        address: str,
        status: int,
        more: Mapping[str, object],
    ) -> None:
        self._lines[kind] += 1
        line: dict[str, object] = {
            "audit": kind,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "member": self._member,
            "principal": principal.name,
            "standing": principal.standing.value,
            "action": action.value,
            "address": address,
            "status": status,
        }
        if key:
            line["key"] = key[:_MOST_CHARS]
        _log.info("%s", json.dumps({**line, **more}))  # all but ASCII is escaped, and so is every control character


def _text(key: bytes) -> str:
    return key[:_MOST_CHARS].decode("utf-8", "backslashreplace")
