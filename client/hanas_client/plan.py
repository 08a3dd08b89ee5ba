"""How one call reaches the main, without I/O: requests, their order, waits and the deadline.

`carry_out` and `consult` are generators. They yield a `Send` or a `Wait`, and receive `StepResult`: the time after the
step and its outcome. They return the final `Reply` or raise `Unavailable`. So the synchronous and the asynchronous
client share every decision, and tests need neither sockets nor clocks.

A round of `carry_out` starts at the last known main, or at the one that an overseer names, or (if no overseer names
one, or that one has just failed, or the policy says so) at any known worker. Backups answer 307, or serve. The round
ends with the final reply, a failure, a 503, an answer of another cluster, or a redirect to an address that the round
has visited: two backups may redirect to one another or to a dead main while an epoch changes. Rounds repeat, with
short waits, until the deadline.
All attempts of a write carry one Idempotency-Key, so it happens at most once.

All requests carry the id of the cluster's folder, once an answer has told it, and a server of another cluster does
nothing. A token goes to addresses only that the user named, or that such an overseer knows and has let this client see:
never to where anyone merely redirects, and never without encryption after an answer that came with it.

The Retry-After of a 503 is at least a second, which is longer than a takeover; so it shortens a wait and never
lengthens it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

from hanas_client.calls import Call, Reply, is_problem, words_of
from hanas_client.documents import Cluster, decode
from hanas_client.errors import BadAnswer, Refused, Unavailable
from hanas_client.routes import Routes
from hanas_client.settings import Policy

MAX_HOPS = 4
REDIRECTS = frozenset({301, 302, 307, 308})
FOLDER = "hanas-folder"
FORBIDDEN = 403
MISDIRECTED = 421
"""The status of an answer of another cluster."""
# 421, 425 and 429 request another attempt; 500 to 504 come from a failing server or proxy.
RETRIED = frozenset({408, 421, 425, 429, 500, 502, 503, 504})
# With these a write has certainly not started. 503 has a rule of its own, see `_was_not_begun`.
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
    whole_seconds: float
    """For the whole attempt."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for this many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """No reply came. `sent`: the server may have received the request. `detail` is for people.

    `unconnected`: the connection timed out.
    """

    detail: str
    sent: bool
    unconnected: bool = False


@dataclass(frozen=True, slots=True)
class StepResult:
    """The outcome of a step, None after a wait, and the monotonic time after it in seconds."""

    now: float
    outcome: Reply | Failure | None = None


Step = Send | Wait
Plan = Generator[Step, StepResult, Reply]


@dataclass(slots=True)
class _Journey:
    """The state of one call."""

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

    def remaining(self) -> float:
        """Return the seconds until the deadline. Raises Unavailable after it."""
        patience = self.policy.deadline
        if not self.contacted and self.policy.first_contact is not None:
            patience = min(patience, self.policy.first_contact)
        remaining = self.started + patience - self.now
        if remaining <= 0:
            raise self.unavailable()
        return remaining

    def send(self, call: Call, url: str, connect: float, read: float) -> Generator[Step, StepResult, Reply | Failure]:
        """Attempt `call` at `url`; store a failure for the final message."""
        remaining = self.remaining()
        headers = dict(call.headers)
        if self.routes.folder is not None:
            headers[FOLDER] = self.routes.folder
        if self.token is not None:
            headers["authorization"] = f"Bearer {self.token}"
        connect, read = min(connect, remaining), min(read, remaining)
        whole = self.started + self.policy.deadline - self.now
        observed = yield Send(call.method, url, headers, call.body, connect, read, whole)
        self.now = observed.now
        assert observed.outcome is not None, "a request ends with a reply or a failure"
        if isinstance(observed.outcome, Failure):
            self.trouble = f"{_origin(url)}: {observed.outcome.detail}"
            return observed.outcome
        self.contacted = True
        folder = observed.outcome.headers.get(FOLDER)
        if self.routes.folder is None and observed.outcome.status != MISDIRECTED:
            self.routes.folder = folder
        elif folder not in {None, self.routes.folder} and observed.outcome.status != MISDIRECTED:
            self.trouble = f"{_origin(url)}: this is another cluster, that of the folder {folder}"
            return Failure(self.trouble, sent=True)
        return observed.outcome

    def wait_longer(self, failure: Failure) -> None:
        """Double the time-out that ended this attempt for the next one."""
        if failure.sent:
            self.read = min(self.read * 2, self.policy.read)
        if failure.unconnected:
            self.connect = min(self.connect * 2, self.policy.connect)

    def pause(self) -> Generator[Step, StepResult, None]:
        """Wait between two rounds."""
        remaining = self.remaining()
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
            message, outcome_unknown=self.outcome_unknown, contacted=self.contacted, tries=self.tries, elapsed=elapsed
        )

    def resolve(self) -> Generator[Step, StepResult, str | None]:
        """Return the base URL at which the next round starts, None if no server is known."""
        if self.routes.main is not None:
            return self.routes.main
        main = yield from self.ask_overseers()
        if self.policy.any_worker and (worker := self.routes.some_worker(self.jitter(), self.failed_base)) is not None:
            return worker
        if main is not None and main != self.failed_base:
            return main
        return self.routes.next_worker(self.failed_base) or main

    def ask_overseers(self) -> Generator[Step, StepResult, str | None]:
        """Return the main's base URL from the first overseer that answers."""
        for base in self.routes.overseers_to_ask(self.now):
            document = yield from self.look_up(base, "/v1/main")
            if document is None:
                self.routes.overseer_failed(base, self.now)
                continue
            if not self.routes.pool_is_fresh(self.now):
                pool = yield from self.look_up(base, "/v1/pool")
                if pool is not None:
                    heard = [member.advertise_url for member in pool.members if member.advertise_url and member.heard]
                    self.routes.learn_pool([url for url in heard if self.fits(base, url)], self.now)
            if document.main is None or document.main.state not in {"", "serving"}:
                self.trouble = f"{base}: the cluster has no main that serves"
                return None
            if not self.fits(base, document.main.advertise_url):
                self.trouble = f"{base} names a main at {document.main.advertise_url[:80]!r}, which is no safe address"
                return None
            return document.main.advertise_url.rstrip("/")
        return None

    def fits(self, overseer: str, url: str) -> bool:
        """Return whether `url`, which an overseer has named, is the plain address of a server.

        With a token it must be encrypted if the overseer's is.
        """
        try:
            parts = urlsplit(url)
            plain = bool(parts.hostname) and parts.port != 0 and not (parts.username or parts.password)
        except ValueError:
            return False
        schemes = {"https"} if self.token is not None and overseer.startswith("https:") else {"http", "https"}
        return plain and parts.scheme in schemes and not (parts.query or parts.fragment) and url.isprintable()

    def trusts(self, base: str) -> Generator[Step, StepResult, bool]:
        """Return whether a redirect to `base` may be followed with the token."""
        routes = self.routes
        if self.token is None or base in routes.workers:
            return True
        routes.expire_pool()
        main = yield from self.ask_overseers()
        return base == main or base in routes.workers

    def look_up(self, base: str, path: str) -> Generator[Step, StepResult, Cluster | None]:
        """Return a document of an overseer, None if it has none now, or none of the pool for this principal.

        Raises Refused without a valid token.
        """
        call, seconds = Call("GET", path, {"accept": "application/json"}), self.policy.lookup
        outcome = yield from self.send(call, base + path, seconds, seconds)
        if isinstance(outcome, Failure):
            return None
        if outcome.status == FORBIDDEN and path == "/v1/pool":
            return None
        if outcome.status in {401, FORBIDDEN}:
            raise Refused(outcome.status, *words_of(outcome))
        if outcome.status != 200:
            self.trouble = _described(base, outcome)
            return None
        try:
            return decode(outcome.body, Cluster, base)
        except BadAnswer as error:
            self.trouble = str(error)
            return None

    def pursue(self, call: Call, base: str) -> Generator[Step, StepResult, Reply | None]:
        """Follow redirects from `base`; return the final reply, None for another round."""
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
                target = following.removesuffix(call.target)
                if not (yield from self.trusts(target)):
                    self.trouble = (
                        f"{_origin(url)} redirects to {target}, which no overseer knows as a worker and nobody has "
                        "named: the token does not go there; name all workers, or an overseer"
                    )
                    break
                url = following
            elif outcome.status in RETRIED:
                self.outcome_unknown |= call.writes and not _was_not_begun(outcome)
                self.trouble = _described(_origin(url), outcome)
                self.retry_after = _seconds(outcome.headers.get("retry-after"))
                self.routes.forget_main(base)
                # It is alive: the next round may use it, unless it belongs to another cluster.
                self.failed_base = base if outcome.status == MISDIRECTED else None
                return None
            else:
                if url.endswith(call.target):
                    self.routes.main = base
                return outcome
        self.routes.forget_main(base)
        self.failed_base = base
        return None

    def redirected(self, url: str, reply: Reply) -> str | None:
        """Return the target of a redirect; None without one, or if it would send the token without encryption."""
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
    """Send `call` to the main and return its final reply.

    `now` is the monotonic time in seconds, `jitter` returns numbers from 0 to 1. Raises Unavailable at the deadline.
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
    routes: Routes | None = None,
) -> Plan:
    """Ask the servers at `bases` in turn, without following redirects, until one gives a final reply.

    For documents that any of them has: those of overseers, or the status of one worker. `routes` has what else is
    known of their cluster.
    """
    journey = _Journey(routes or Routes((), bases), policy, token, jitter, now)
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
    """Return whether the reply proves that a write was not executed.

    A worker marks its other 503 with `HANas-Outcome: unknown`; that of a proxy proves nothing.
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
