"""``/v1/kv`` as a plain ASGI endpoint: what does not come the direct way (hanas_worker.faces.http.keys)."""

import asyncio

import msgspec
from starlette.types import Receive, Scope, Send

from hanas_core.state.keytexts import shown
from hanas_core.state.transactions import Transact
from hanas_serving.answers import Answer, Disconnected, send_answer
from hanas_serving.body import Body
from hanas_serving.budget import SMALL_BYTES, Budget, NoMemory
from hanas_serving.fields import require_no_query
from hanas_serving.gate import Caller, caller_of
from hanas_serving.principals import Action, may, parts
from hanas_serving.problems import Problem
from hanas_worker.faces.http import leases, requests, transactions, watches
from hanas_worker.faces.http.answers import fail, of_page, problem, texts_of, token_needed
from hanas_worker.faces.http.digests import check, digests_of
from hanas_worker.faces.http.keys import Admitted, KeyRead, Keys, KeyWrite, PastRead
from hanas_worker.refusals import Crowded
from hanas_worker.store import Store

COLLECTION = b"/v1/kv"
_OTHERS = frozenset({transactions.PATH, watches.PATH})
_ACTIONS = {"GET": Action.READ, "HEAD": Action.READ, "PUT": Action.WRITE, "DELETE": Action.DELETE}
_LEAST_TRANSACTION_BYTES = 1 << 20
"""A transaction may take so much, or as much as the largest value."""
_METHODS = ", ".join(sorted(_ACTIONS))


def concerns_keys(raw_path: bytes) -> bool:
    """Return whether a path, not decoded, is that of the list of keys, of a key, transactions, watches, or leases."""
    of_keys = raw_path == COLLECTION or raw_path.startswith(requests.KEY_PATH)
    return of_keys or raw_path in _OTHERS or leases.concerns(raw_path)


class _Awaited:
    """A reply that a coroutine waits for."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.waiter: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def answer(self, answer: Answer) -> None:
        if not self.waiter.done():
            self.waiter.set_result(answer)

    def fail(self, error: BaseException) -> None:
        if not self.waiter.done():
            self.waiter.set_exception(error)


class KeysEndpoint:
    """Answers every request below ``/v1/kv``."""

    def __init__(self, keys: Keys, memory: Budget) -> None:
        """Answer for ``keys``. ``memory``: for large bodies and answers."""
        self._keys = keys
        self._memory = memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path, query = scope["raw_path"], scope["query_string"]
        stream = None
        reply = _Awaited(path + b"?" + query if query else path)
        with Body(self._memory) as body:
            try:
                if path == watches.PATH:
                    stream = await watches.open_stream(self._keys, scope)
                else:
                    await self._ask(reply, scope, receive, body)
            except Disconnected:
                return
            except NoMemory:
                fail(reply, Crowded(), self._keys.store)
            except Exception as error:
                fail(reply, error, self._keys.store)
            if stream is not None:
                await stream(receive, send)
                return
            answer = await reply.waiter
        if len(answer.body) > SMALL_BYTES and not self._memory.takes(len(answer.body)):
            answer = problem(Crowded(), path).answer(self._keys.epoch)
        await send_answer(answer, send, bodiless=scope["method"] == "HEAD")

    async def _ask(self, reply: _Awaited, scope: Scope, receive: Receive, body: Body) -> None:
        method, path = scope["method"], scope["raw_path"]
        scope = {**scope, "headers": self._keys.gate.examine(method, scope["headers"])}
        caller = caller_of(scope)
        if path == COLLECTION:
            await self._list(caller, scope, reply)
            return
        if path == transactions.PATH:
            await self._transact(caller, scope, receive, reply, body)
            return
        if leases.concerns(path):
            await self._lease(caller, scope, receive, reply, body)
            return
        content = requests.content_of(path)
        admitted = self._keys.admit(caller, _ACTIONS.get(method, Action.READ), content)
        store, key = self._keys.joined(), requests.checked(content)
        if method not in _ACTIONS:
            raise Problem(405, f"a key takes {_METHODS}", {"allow": _METHODS})
        if method in {"GET", "HEAD"}:
            self._read(store, key, scope, reply)
        else:
            await self._write(store, key, scope, receive, reply, body, admitted)

    async def _list(self, caller: Caller, scope: Scope, reply: _Awaited) -> None:
        keys = self._keys
        principal = keys.gate.admit_somewhere(caller, keys.callers, Action.LIST, token_needed)
        store = keys.joined()
        if scope["method"] not in {"GET", "HEAD"}:
            raise Problem(405, "the list of keys takes GET only", {"allow": "GET, HEAD"})
        page = requests.page_of(requests.query_of(scope["query_string"], requests.OF_LISTS))
        prefixes = parts(principal, Action.LIST, page.prefix)
        if not prefixes:
            raise keys.gate.denial(principal, caller, keys.callers, Action.LIST, token_needed, page.prefix)
        after, limit = page.after, page.limit
        while True:
            listing = store.list(prefixes, after, limit, stale=page.stale, revision=page.revision)
            async with listing as (keys_page, epoch):
                told = texts_of(keys_page, page.limit)
                if told is not None:
                    reply.answer(await of_page(told, epoch, store.revision))
                    return
            after, limit = keys_page.following or b"", requests.MOST_PAGE

    @staticmethod
    def _read(store: Store, key: bytes, scope: Scope, reply: _Awaited) -> None:
        bodiless = scope["method"] == "HEAD"
        options = requests.options_of(scope["headers"])
        if bodiless:
            options = options._replace(part=None)
        query = requests.query_of(scope["query_string"], requests.OF_READS)
        stale, revision = requests.is_stale(query), requests.revision_of(query)
        if revision is None:
            store.read(KeyRead(store, key, stale, reply, options, bodiless))
        else:
            store.read(PastRead(store, key, stale, reply, options, bodiless, revision=revision))

    async def _transact(self, caller: Caller, scope: Scope, receive: Receive, reply: _Awaited, body: Body) -> None:
        keys, headers = self._keys, scope["headers"]
        if scope["method"] != "POST":
            keys.gate.admit_somewhere(caller, keys.callers, Action.READ, token_needed)
            raise Problem(405, "a transaction takes POST only", {"allow": "POST"})
        require_no_query(scope["query_string"])
        requests.refuse_conditions(headers)
        store, most = keys.joined(), max(keys.value_bytes, _LEAST_TRANSACTION_BYTES)
        store.require_main()  # before the body is sent for nothing
        content = await body.read(receive, requests.length_of(headers), 2 * most, _too_large)
        await check(digests_of(headers), content)
        transaction = transactions.transaction_of(content, keys.value_bytes)
        request = keys.permitted(Transact(transaction, requests.idempotency_key_of(headers)), caller)
        if request.size > most:
            raise _too_large(request.size)
        answer = transactions.answer_of(await store.transact(request))
        keys.note_transaction(request, caller, answer.status)
        reply.answer(answer)

    async def _lease(self, caller: Caller, scope: Scope, receive: Receive, reply: _Awaited, body: Body) -> None:
        keys, method, path = self._keys, scope["method"], scope["raw_path"]
        principal = keys.gate.admit_somewhere(caller, keys.callers, Action.WRITE, token_needed)
        require_no_query(scope["query_string"])
        lease, renewing = (0, True) if path == leases.PATH else leases.asked(path)
        allowed = "POST" if renewing else "DELETE, GET, HEAD"
        if method not in allowed.split(", "):
            raise Problem(405, f"this path takes {allowed}", {"allow": allowed})
        store = keys.joined()
        if not lease:
            length = requests.length_of(scope["headers"])
            content = await body.read(receive, length, leases.MOST_BODY_BYTES, _too_large_for_lease)
            grant = leases.grant_of(content)
            granted = await store.grant(0 if isinstance(grant.id, msgspec.UnsetType) else grant.id, grant.ttl)
            reply.answer(leases.of_grant(granted.lease, grant.ttl, granted.epoch, granted.revision))
        elif renewing:
            renewed = await store.keep_alive(lease)
            reply.answer(leases.of_grant(lease, renewed.ttl, renewed.epoch, renewed.revision, 200))
        else:
            told = await store.lease(lease)
            if method == "DELETE":
                for key in told.keys:
                    if not may(principal, Action.DELETE, key):
                        raise keys.gate.denial(principal, caller, keys.callers, Action.DELETE, token_needed, key)
                answer = leases.of_revoke(await store.revoke(lease))
                if keys.gate.audit.of_writes:
                    for key in told.keys:
                        keys.gate.audit.written(principal, Action.DELETE, shown(key), caller.address, answer.status)
                reply.answer(answer)
            else:
                readable = [key for key in told.keys if may(principal, Action.READ, key)]
                document = leases.shown(lease, told.ttl, told.left, readable)
                reply.answer(leases.of_lease(document, told.epoch, told.revision))

    async def _write(
        self,
        store: Store,
        key: bytes,
        scope: Scope,
        receive: Receive,
        reply: _Awaited,
        body: Body,
        admitted: Admitted,
    ) -> None:
        put, headers = scope["method"] == "PUT", scope["headers"]
        require_no_query(scope["query_string"])
        write = self._keys.guarded(requests.write_of(key, headers, b"" if put else None), admitted)
        if put:
            digests = digests_of(headers)
            length = requests.length_of(headers)
            if length is not None and length > self._keys.value_bytes:
                raise self._keys.too_large(length)
            store.require_main()  # before the body is sent for nothing
            value = await body.read(receive, length, self._keys.value_bytes, self._keys.too_large)
            await check(digests, value)
            write = msgspec.structs.replace(write, value=value)
        store.write(write, KeyWrite(store, self._keys.noted(reply, write, admitted)))


def _too_large_for_lease(size: int) -> Problem:
    return Problem(413, f"the body has {size} bytes or more; send JSON with ttl, and id if it is to be chosen")


def _too_large(size: int) -> Problem:
    return Problem(413, f"the transaction takes {size} bytes or more, which is too much for one; nothing was done")
