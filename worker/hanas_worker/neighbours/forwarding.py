"""The line to the main, over which this worker's log forwards what clients ask for; and how the main answers it.

Both prove with the main's link key that they can read the folder, each for a nonce of the other (docs/protocol.md,
section 6.9).
"""

import asyncio
import logging
from collections.abc import Callable

from hanas_serving.lines import Keys, Receiver
from hanas_serving.runtime import Declined, Outbound
from hanas_worker.neighbours.authenticity import MAC_HEADER, NONCE_HEADER, is_proof, mac

_log = logging.getLogger("hanas.worker")

PATH = "/v1/forward"
CALL, ANSWER = "forward", "forwarding"
"""What the proofs are about."""
_LEAST_PAUSE_SECONDS = 0.02
"""Between two tries: a main that has claimed is about to serve."""
_MOST_PAUSE_SECONDS = 0.5
_MOST_DOUBLINGS = 4
"""Behind each try that fails the next one may take twice as long, so often: on machines with too much to do, tries that
are given up too early only make more of it."""
_NO_LINES = frozenset({404, 503})
"""The status of a main that takes none: it is of an older version, or another member is."""
_TRIES_UNSAID = 5
"""So many fail in a takeover. After these people are told why clients wait here."""


class ForwardingLine:
    """Keeps one line at a time."""

    def __init__(self, outbound: Outbound, member: str, nonce: Callable[[], str], timeout: float) -> None:
        """Connect as ``member``. ``timeout``: seconds for the first try; in all others for the connection alone."""
        self._outbound = outbound
        self._member = member
        self._nonce = nonce
        self._timeout = timeout
        self._task: asyncio.Task[None] | None = None

    def keep(
        self, url: str, key: Callable[[], str | None], receiver: Receiver, declined: Callable[[], None]
    ) -> asyncio.Task[None]:
        """Stay connected to ``url``, to nobody else; ``receiver`` gets one line after the other. Returns the task.

        ``key``: returns the link key of the process there, None while it is not known. ``declined`` is called when that
        main takes no lines, for as long as a member of an older version lives, or because it is one.
        """
        former = self._task
        self.let_go()
        self._task = asyncio.create_task(self._keep(former, url, key, receiver, declined))
        return self._task

    def let_go(self) -> None:
        """End the line, if there is one."""
        if self._task is not None:
            self._task.cancel()

    async def _keep(
        self,
        former: asyncio.Task[None] | None,
        url: str,
        key: Callable[[], str | None],
        receiver: Receiver,
        declined: Callable[[], None],
    ) -> None:
        if former is not None:
            await asyncio.wait([former])  # its line has ended then
        pause, failures = _LEAST_PAUSE_SECONDS, 0
        while True:
            if (present := key()) is not None:
                try:
                    await self._connect(url, present, receiver, self._timeout * 2 ** min(failures, _MOST_DOUBLINGS))
                    pause, failures = _LEAST_PAUSE_SECONDS, 0
                except OSError as error:
                    if isinstance(error, Declined) and error.status in _NO_LINES:
                        declined()
                    failures += 1
                    if failures == _TRIES_UNSAID:
                        reason = str(error) or f"{url}: no answer in time"
                        _log.warning("what clients ask here cannot be forwarded to the main: %s", reason)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MOST_PAUSE_SECONDS)

    async def _connect(self, url: str, key: str, receiver: Receiver, timeout: float) -> None:
        nonce = self._nonce()

        def agree(own: str, proof: str) -> tuple[Receiver, Keys]:
            if not is_proof(proof, key, ANSWER, about(self._member, nonce, own)):
                raise ConnectionError(f"{url}: the answer is not that of the main")
            return receiver, Keys.derive(key.encode(), (nonce, own), caller=True)

        headers = {NONCE_HEADER: nonce, MAC_HEADER: mac(key, CALL, about(self._member, nonce))}
        await self._outbound.line(url + PATH, timeout, headers, agree, connect=self._timeout)


def about(*parts: str) -> bytes:
    """Return what a proof is about."""
    return " ".join(parts).encode()
