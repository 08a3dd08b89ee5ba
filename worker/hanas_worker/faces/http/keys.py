"""``/v1/kv/{key}``: from a request to the store, whichever way it came. Here, too, the direct way of plain requests."""

from urllib.parse import unquote_to_bytes

from hanas_serving import principals
from hanas_serving.direct import Exchange, Headers
from hanas_serving.principals import Action
from hanas_serving.problems import Problem
from hanas_worker.faces.http import requests
from hanas_worker.faces.http.answers import TRY_AGAIN, KeyRead, KeyWrite, fail
from hanas_worker.store import Store

_ACTIONS = {b"GET": Action.READ, b"PUT": Action.WRITE, b"DELETE": Action.DELETE}


class Keys:
    """The keys of one worker's store; called with a plain request, answers it by calls instead of coroutines."""

    methods = frozenset(_ACTIONS)
    prefix = requests.KEY_PATH

    def __init__(self, client_tokens: tuple[str, ...], value_bytes: int) -> None:
        """Allow values of ``value_bytes`` at most, and, if there are any, bearers of ``client_tokens`` only."""
        self.store: Store | None = None
        """Set once this worker has joined."""
        self.value_bytes = value_bytes
        self._tokens = client_tokens

    @property
    def epoch(self) -> int | None:
        """Highest epoch known, if any."""
        return None if self.store is None else self.store.epoch

    def __call__(self, exchange: Exchange) -> None:
        """Answer one request, now or when a check or a commit has returned."""
        try:
            method, headers = exchange.method, exchange.headers
            store = self.store
            if self._tokens or store is None:
                store = self.admit(headers, _ACTIONS[method], exchange.path[len(self.prefix) :])
            key = requests.key_of(exchange.path)
            if method == b"GET":
                store.read(KeyRead(store, key, False, exchange, requests.wanted_of(headers)))
                return
            value = exchange.body if method == b"PUT" else None
            write = requests.write_of(key, headers, value)
            if value is not None and len(value) > self.value_bytes:
                raise self.too_large(len(value))
            store.write(write, KeyWrite(store, exchange))
        except Exception as error:
            fail(exchange, error, self.epoch)

    def admit(self, headers: Headers, action: Action, key: bytes) -> Store:
        """Return the store for ``action`` on ``key``, percent-encoded. Raises Problem: 401, 503 without a store."""
        if self._tokens:
            principal = principals.identify(dict(headers).get(b"authorization"), self._tokens)
            if not principals.may(principal, action, unquote_to_bytes(key)):
                raise Problem(
                    401, "a bearer token is needed: Authorization: Bearer ...", {"www-authenticate": "Bearer"}
                )
        if self.store is None:
            raise Problem(503, "this worker has not joined yet; try again", TRY_AGAIN)
        return self.store

    def too_large(self, size: int) -> Problem:
        """Return the answer to a value of this size.

        The connection stays open and swallows the rest: closed under a client that still sends, it would be reset,
        and this answer lost.
        """
        detail = f"the value has {size} bytes or more; at most {self.value_bytes} are allowed (HANAS_VALUE_BYTES)"
        return Problem(413, detail)
