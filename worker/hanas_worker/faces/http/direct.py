"""``/v1/kv/{key}`` the direct way: plain requests, answered by calls instead of coroutines.

The rules are those of `hanas_worker.faces.http.rules`; here is only who calls whom. A read joins those that wait
for the next seal check, a write joins the group commit, and both are answered when what they rest on has come true.
"""

from functools import partial

from hanas_core.state.writes import Outcome
from hanas_serving.answers import Answer
from hanas_serving.direct import Exchange
from hanas_serving.problems import Problem
from hanas_worker.faces.http import requests, rules
from hanas_worker.faces.http.requests import Wanted
from hanas_worker.faces.http.rules import Absent, Rules
from hanas_worker.log.driver import LogDriver
from hanas_worker.log.service import EpochEnded, Service
from hanas_worker.log.values import Moved


class DirectKeyValue:
    """Answers plain requests for keys."""

    methods = frozenset({b"GET", b"PUT", b"DELETE"})
    prefix = requests.KEY_PATH

    def __init__(self, rules: Rules) -> None:
        """Answer by ``rules``."""
        self._rules = rules

    def __call__(self, exchange: Exchange) -> None:
        """Answer one request, now or when a check or a commit has returned."""
        try:
            node = self._rules.admit(exchange.headers)
            key = requests.key_of(exchange.path)
            service = node.serving
            if service is None:
                raise rules.elsewhere(node, exchange.path)
            if exchange.method == b"GET":
                wanted = requests.wanted_of(exchange.headers)
                service.after_check(partial(self._checked, exchange, node, service, key, wanted))
            else:
                self._write(exchange, node, service, key)
        except Problem as problem:
            exchange.answer(self._rules.failed(problem))
        except Exception as error:
            exchange.fail(error)

    # ------------------------------------------------------------------ writes

    def _write(self, exchange: Exchange, node: LogDriver, service: Service, key: str) -> None:
        value = exchange.body if exchange.method == b"PUT" else None
        write = requests.write_of(key, exchange.headers, value)
        if value is not None and len(value) > self._rules.value_bytes:
            raise self._rules.too_large(len(value))
        service.submit(write, partial(self._written, exchange, node, service))

    def _written(self, exchange: Exchange, node: LogDriver, service: Service, outcome: Outcome) -> None:
        try:
            exchange.answer(rules.written(node, service, exchange.path, outcome))
        except Problem as problem:
            exchange.answer(self._rules.failed(problem))
        except Exception as error:
            exchange.fail(error)

    # ------------------------------------------------------------------ reads

    def _checked(
        self, exchange: Exchange, node: LogDriver, service: Service, key: str, wanted: Wanted, unsealed: bool
    ) -> None:
        try:
            if not unsealed:
                raise rules.elsewhere(node, exchange.path)
            found = rules.look(node, key, wanted, service.epoch)
            if isinstance(found, Absent):
                exchange.go_on(self._fetch(exchange, node, key, wanted, found))
            else:
                exchange.answer(found)
        except Problem as problem:
            exchange.answer(self._rules.failed(problem))
        except Exception as error:
            exchange.fail(error)

    async def _fetch(self, exchange: Exchange, node: LogDriver, key: str, wanted: Wanted, found: Absent) -> None:
        """Answer with a value from its place on the volume."""
        try:
            exchange.answer(await self._fetched(exchange, node, key, wanted, found))
        except Problem as problem:
            exchange.answer(self._rules.failed(problem))
        except Exception as error:
            exchange.fail(error)

    @staticmethod
    async def _fetched(exchange: Exchange, node: LogDriver, key: str, wanted: Wanted, absent: Absent) -> Answer:
        while True:
            try:
                return await rules.fetch(node, key, absent)
            except Moved:
                # What became of the key meanwhile may be told by the main only.
                service = node.serving
                if service is None:
                    raise rules.elsewhere(node, exchange.path) from None
            try:
                await service.fence()
            except EpochEnded:
                raise rules.elsewhere(node, exchange.path) from None
            found = rules.look(node, key, wanted, service.epoch)
            if not isinstance(found, Absent):
                return found
            absent = found
