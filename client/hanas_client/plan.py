"""How one call reaches the main, sans-IO: what to send, where, when to wait and when to give up.

`carry_out` and `consult` are generators. They yield a `Send` or a `Wait`, and get back `Observed`: the time
after it and what came of it. They return the final `Reply` or raise `Unavailable`. So the synchronous and the
asynchronous client share every decision, and tests need neither sockets nor clocks.

A round of `carry_out` begins at the main as last seen, or as an overseer names it, or (when no overseer can
tell, or the one it names has just failed) at any worker known. Backups answer 307. The round ends with the
final reply, or with a failure, a 503, or a redirect to where the round has been already: two backups may
point at one another or at a dead main while an epoch changes. Rounds are repeated, with small waits, until
the deadline. All tries of a write carry one Idempotency-Key, so it happens at most once.

A 503's Retry-After cannot say less than a second, which is longer than a takeover; so it only says *that* the
call may be tried again, and shortens a wait but never lengthens it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

from hanas_client.calls import Call, Reply, is_problem, words_of
from hanas_client.documents import MainDocument, Pool, decode
from hanas_client.errors import BadAnswer, Refused, Unavailable
from hanas_client.routes import Routes
from hanas_client.settings import Policy

MAX_HOPS = 4
REDIRECTS = frozenset({301, 302, 307, 308})
# 421, 425 and 429 ask for another try; 500 to 504 come from a server or a proxy in trouble.
RETRIED = frozenset({408, 421, 425, 429, 500, 502, 503, 504})
# After these a write was certainly not begun. 503 has a rule of its own, see `_was_not_begun`.
NOT_BEGUN = frozenset({421, 425, 429})


@dataclass(frozen=True, slots=True)
class Send:
    """Send this request and report the reply or the failure. Time-outs are in seconds."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    connect_seconds: float
    read_seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Let this many seconds pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """No reply came. `sent`: the server may have got the request. `detail` is for people.

    `unconnected`: the time for a connection was up.
    """

    detail: str
    sent: bool
    unconnected: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """What came of a step, and the monotonic time after it in seconds. `outcome` is None after a wait."""

    now: float
    outcome: Reply | Failure | None = None


D = TypeVar("D")
Step = Send | Wait
Plan = Generator[Step, Observed, Reply]


@dataclass(slots=True)
class _Journey:
    """The state of one call on its way."""

    routes: Routes
    policy: Policy
    token: str | None
    jitter: Callable[[], float]
    now: float
    writes: bool = False
    started: float = field(init=False)
    backoff: float = field(init=False)
    connect: float = field(init=False)
    read: float = field(init=False)
    tries: int = 0
    contacted: bool = False
    outcome_unknown: bool = False
    failed_base: str | None = None
    retry_after: float | None = None
    trouble: str = "no server is known"

    def __post_init__(self) -> None:
        self.started = self.now
        self.backoff = self.policy.backoff_start
        self.connect = min(self.policy.connect_first, self.policy.connect)
        self.read = min(self.policy.read_first, self.policy.read)

    @property
    def deadline(self) -> float:
        patience = self.policy.deadline
        if not self.contacted and self.policy.first_contact is not None:
            patience = min(patience, self.policy.first_contact)
        return self.started + patience

    def send(self, call: Call, url: str, connect: float, read: float) -> Generator[Step, Observed, Reply | Failure]:
        """One try of `call` at `url`; failures are noted for the message at the end."""
        remaining = self.deadline - self.now
        if remaining <= 0:
            raise self.unavailable()
        headers = dict(call.headers)
        if self.token is not None:
            headers["authorization"] = f"Bearer {self.token}"
        observed = yield Send(call.method, url, headers, call.body, min(connect, remaining), min(read, remaining))
        self.now = observed.now
        assert observed.outcome is not None, "a request ends with a reply or a failure"
        if isinstance(observed.outcome, Failure):
            self.trouble = f"{_origin(url)}: {observed.outcome.detail}"
        else:
            self.contacted = True
        return observed.outcome

    def wait_longer(self, failure: Failure) -> None:
        """Give the next try twice the time for what this one had not enough of."""
        if failure.sent:
            self.read = min(self.read * 2, self.policy.read)
        if failure.unconnected:
            self.connect = min(self.connect * 2, self.policy.connect)

    def pause(self) -> Generator[Step, Observed, None]:
        """The wait between two rounds."""
        remaining = self.deadline - self.now
        if remaining <= 0:
            raise self.unavailable()
        seconds = self.backoff * (0.5 + self.jitter() / 2)
        if self.retry_after is not None:
            seconds = min(seconds, max(self.retry_after, self.policy.backoff_start))
        self.retry_after = None
        self.backoff = min(self.backoff * 2, self.policy.backoff_cap)
        self.now = (yield Wait(min(seconds, remaining))).now

    def unavailable(self) -> Unavailable:
        elapsed = self.now - self.started
        if self.contacted:
            message = f"no main carried this out within {elapsed:.1f} s (last: {self.trouble})"
        else:
            message = f"nothing answers ({self.trouble})"
        if self.outcome_unknown:
            message += "; the write may or may not have been done"
        elif self.writes:
            message += "; nothing was written"
        return Unavailable(
            message,
            outcome_unknown=self.outcome_unknown,
            contacted=self.contacted,
            tries=self.tries,
            elapsed=elapsed,
        )

    def resolve(self) -> Generator[Step, Observed, str | None]:
        """The base URL at which the next round begins, or None when none is known."""
        if self.routes.main is not None:
            return self.routes.main
        named = yield from self.ask_overseers()
        if named is not None and named != self.failed_base:
            return named
        return self.routes.next_worker(self.failed_base) or named

    def ask_overseers(self) -> Generator[Step, Observed, str | None]:
        """The main's base URL as the first overseer that answers names it."""
        for base in self.routes.overseers_to_ask(self.now):
            document = yield from self.look_up(base, "/v1/main", MainDocument)
            if document is None:
                self.routes.overseer_failed(base, self.now)
                continue
            if not self.routes.pool_is_fresh(self.now):
                pool = yield from self.look_up(base, "/v1/pool", Pool)
                if pool is not None:
                    urls = [member.advertise_url for member in pool.members if member.advertise_url]
                    self.routes.learn_pool(urls, self.now)
            if document.main is None:
                self.trouble = f"{base}: the cluster has no main yet"
                return None
            return document.main.advertise_url.rstrip("/")
        return None

    def look_up(self, base: str, path: str, kind: type[D]) -> Generator[Step, Observed, D | None]:
        """A document of an overseer, or None when it does not give one now. Raises Refused without a good token."""
        call = Call("GET", path, {"accept": "application/json"})
        lookup = self.policy.lookup
        outcome = yield from self.send(call, base + path, lookup, lookup)
        if isinstance(outcome, Failure):
            return None
        if outcome.status in {401, 403}:
            raise Refused(outcome.status, *words_of(outcome))
        if outcome.status != 200:
            self.trouble = _described(base, outcome)
            return None
        try:
            return decode(outcome.body, kind, base)
        except BadAnswer as error:
            self.trouble = str(error)
            return None

    def pursue(self, call: Call, base: str) -> Generator[Step, Observed, Reply | None]:
        """One round from `base` along redirects: the final reply, or None to try again."""
        url = base + call.target
        visited: set[str] = set()
        while True:
            visited.add(url)
            self.tries += 1
            outcome = yield from self.send(call, url, self.connect, self.read)
            base = url.removesuffix(call.target)
            if isinstance(outcome, Failure):
                self.outcome_unknown |= call.writes and outcome.sent
                self.wait_longer(outcome)
                break
            if outcome.status in REDIRECTS:
                following = self.redirected(url, outcome)
                if following is None or following in visited or len(visited) == MAX_HOPS:
                    self.trouble = f"{_origin(url)}: the redirects lead to no main"
                    break
                url = following
            elif outcome.status in RETRIED:
                self.outcome_unknown |= call.writes and not _was_not_begun(outcome)
                self.trouble = _described(_origin(url), outcome)
                self.retry_after = _seconds(outcome.headers.get("retry-after"))
                self.routes.forget_main(base)
                self.failed_base = None  # it is alive: it may be asked again
                return None
            else:
                if url.endswith(call.target):
                    self.routes.main = base
                return outcome
        self.routes.forget_main(base)
        self.failed_base = base
        return None

    def redirected(self, url: str, reply: Reply) -> str | None:
        """Where a redirect leads; None if that is nowhere, or would show the token without encryption."""
        location = reply.headers.get("location")
        if not location:
            return None
        try:
            following = urljoin(url, location)
            scheme = urlsplit(following).scheme
        except ValueError:
            return None
        downgraded = self.token is not None and scheme != "https" and url.startswith("https:")
        return following if scheme in {"http", "https"} and not downgraded else None


def carry_out(
    call: Call,
    routes: Routes,
    policy: Policy,
    now: float,
    jitter: Callable[[], float],
    token: str | None = None,
) -> Plan:
    """Bring `call` to the main and return its final reply.

    `now` is the monotonic time in seconds, `jitter` gives numbers from 0 to 1. Raises Unavailable at the
    deadline.
    """
    journey = _Journey(routes, policy, token, jitter, now, writes=call.writes)
    while True:
        base = yield from journey.resolve()
        if base is not None:
            reply = yield from journey.pursue(call, base)
            if reply is not None:
                return reply
        yield from journey.pause()


def consult(
    call: Call,
    bases: tuple[str, ...],
    policy: Policy,
    now: float,
    jitter: Callable[[], float],
    token: str | None = None,
) -> Plan:
    """Ask the servers at `bases` in turn, without following redirects, until one gives a final reply.

    For what any of them may answer: an overseer's documents, or one worker's account of itself.
    """
    journey = _Journey(Routes((), bases), policy, token, jitter, now)
    while True:
        for base in bases:
            journey.tries += 1
            outcome = yield from journey.send(call, base + call.target, journey.connect, policy.read)
            if isinstance(outcome, Failure):
                journey.wait_longer(outcome)
            elif outcome.status in RETRIED or outcome.status in REDIRECTS:
                journey.trouble = _described(base, outcome)
            else:
                return outcome
        yield from journey.pause()


def _was_not_begun(reply: Reply) -> bool:
    """Whether a write that was answered so is known not to have been done.

    A worker's 503 says it when it is otherwise (`HANas-Outcome: unknown`); that of a proxy says nothing.
    """
    if reply.status != 503:
        return reply.status in NOT_BEGUN
    return is_problem(reply) and reply.headers.get("hanas-outcome") != "unknown"


def _described(base: str, reply: Reply) -> str:
    title, detail = words_of(reply)
    return f"{base}: {detail or title}"


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else None


def _origin(url: str) -> str:
    split = urlsplit(url)
    return f"{split.scheme}://{split.netloc}"
