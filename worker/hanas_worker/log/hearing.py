"""What one log takes from the link: the news of its main, and what others answer to one's own."""

import math
from collections.abc import Callable

from hanas_core.members.roles import MainState, Role
from hanas_worker.host.duties import Duty
from hanas_worker.log.news import LogNews
from hanas_worker.log.state import LogState


class Hearing:
    """Listens for one log."""

    def __init__(self, state: LogState, note_conditions: Callable[[], None], superseded: Callable[[int], None]) -> None:
        """Have heard nothing yet. ``note_conditions`` is called before a keep-alive may end one.

        ``superseded`` is called with a higher epoch that a member knows, where the claims cannot be read.
        """
        self._state, self._host = state, state.host
        self._note_conditions = note_conditions
        self._superseded = superseded
        self._nudged_at = -math.inf
        """When the link last gave reason to look at the claims."""

    def hear(self, incarnation: str, news: LogNews, *, fresh: bool) -> int:
        """Process the news of a member; return the highest epoch that is known here.

        Of an epoch only the holder of its claim has something to say, and only what it says now (``fresh``) counts.
        """
        member = self._state.member
        if news.epoch > member.epoch:
            self._look_soon()
        elif (
            fresh and member.claim is not None and (news.epoch, incarnation) == (member.epoch, member.claim.incarnation)
        ):
            self._hear_the_main(incarnation, news)
        return member.epoch

    def _hear_the_main(self, incarnation: str, news: LogNews) -> None:
        state, member = self._state, self._state.member
        if news.state is MainState.HANDED_OVER:
            self._look_soon()
        elif member.role is Role.BACKUP:
            self._note_conditions()  # a condition that ends here counts even if it began after the last tick
            member.detector.heard(
                self._host.awake,
                news.epoch,
                incarnation,
                stalled_for=news.stalled_for,
                hung_for=news.hung_for,
                paused=news.paused,
                full=news.full,
                progress=news.progress,
            )
            committed = news.committed_there
            if committed is not None:
                state.know_committed(committed)

    def answered(self, epoch: int) -> None:
        """Process a member's answer to one's own news: the highest epoch that it knows."""
        self._state.member.reached(self._host.awake)
        if epoch > self._state.member.epoch:
            self._look_soon()
            if self._host.hung_for > self._host.timing.suspect_after:
                self._superseded(epoch)

    def _look_soon(self) -> None:
        """Look at the claims at once, but no more often than one main gives reason to, whoever repeats its words."""
        if self._host.now - self._nudged_at >= self._host.timing.keepalive_interval:
            self._nudged_at = self._host.now
            self._state.wakers[Duty.WATCH].set()
