"""The addresses of a cluster that a client knows; all its calls share them.

Each field is replaced as a whole, so that threads may share it: a race costs one more request at most.
"""

from __future__ import annotations

from collections.abc import Iterable

OVERSEER_SKIP_SECONDS = 1.0
POOL_FRESH_SECONDS = 5.0


class Routes:
    """The overseers, the workers, and the last known main."""

    def __init__(self, overseers: tuple[str, ...], servers: tuple[str, ...]) -> None:
        if not overseers and not servers:
            raise ValueError("at least one overseer or worker must be named")
        self.overseers = overseers
        self.servers = servers
        self.main: str | None = None
        """Where the next call goes: to the main, or to the worker that serves in its place."""
        self.folder: str | None = None
        """The id of the cluster's folder, once an answer has told it."""
        self._members: tuple[str, ...] = ()
        self._pool_read_at: float | None = None
        self._turn = 0
        self._skipped_until: dict[str, float] = {}

    @property
    def workers(self) -> tuple[str, ...]:
        """Base URLs of all workers: those that the user named, then the members of the pool."""
        return tuple(dict.fromkeys(self.servers + self._members))

    def forget_main(self, base: str) -> None:
        """Discard the worker at `base` as the main, unless another main is known by now."""
        if self.main == base:
            self.main = None

    def next_worker(self, other_than: str | None) -> str | None:
        """Return the workers in turn, without `other_than` if there is another one."""
        choices = [base for base in self.workers if base != other_than] or list(self.workers)
        if not choices:
            return None
        self._turn += 1
        return choices[(self._turn - 1) % len(choices)]

    def some_worker(self, share: float, other_than: str | None) -> str | None:
        """Return one of the workers, by a number from 0 to 1; without `other_than` if there is another one."""
        choices = [base for base in self.workers if base != other_than] or list(self.workers)
        return choices[min(int(share * len(choices)), len(choices) - 1)] if choices else None

    def learn_pool(self, urls: Iterable[str], now: float) -> None:
        """Store the addresses of the members, for the time when no overseer answers."""
        self._members = tuple(url.rstrip("/") for url in urls)
        self._pool_read_at = now if self._members else None

    def expire_pool(self) -> None:
        """Let the pool be read again before it is used."""
        self._pool_read_at = None

    def pool_is_fresh(self, now: float) -> bool:
        """Return whether the pool was read recently (`now` in seconds on the monotonic clock)."""
        return self._pool_read_at is not None and now - self._pool_read_at < POOL_FRESH_SECONDS

    def overseers_to_ask(self, now: float) -> tuple[str, ...]:
        """Return the overseers, without those that just failed if workers are known."""
        ready = tuple(base for base in self.overseers if self._skipped_until.get(base, now) <= now)
        return ready if self.workers else ready or self.overseers

    def overseer_failed(self, base: str, now: float) -> None:
        """Move this overseer to the end, and skip it for a moment."""
        self._skipped_until = self._skipped_until | {base: now + OVERSEER_SKIP_SECONDS}
        self.overseers = (*(other for other in self.overseers if other != base), base)
