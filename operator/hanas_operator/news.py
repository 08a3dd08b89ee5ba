"""Which of several views of one cluster counts: each overseer has its own, and some lag behind or are blind."""

from collections.abc import Hashable

from hanas_core.members.verdicts import Verdict
from hanas_operator.view import ClusterView

Source = Hashable
WORKERS: Source = "workers"
"""The source of what workers say of themselves, without an overseer."""
BELIEVED_SECONDS = 10.0
"""A view counts for this time after the last news of its epoch or a later one."""
_OVERSEER = "overseer"
"""The member of an alert that an overseer raises itself."""


class News:
    """The newest views of all sources. An older epoch never replaces a newer one while that is believed."""

    def __init__(self) -> None:
        """Know nothing."""
        self._views: dict[Source, ClusterView] = {}
        self._source: Source | None = None
        self._chosen: ClusterView | None = None
        self._confirmed_at = 0.0

    def take(self, source: Source, view: ClusterView, now: float) -> None:
        """Note what ``source`` says. ``now``: seconds of a clock that only grows."""
        self._views[source] = view
        self.confirm(source, now)

    def confirm(self, source: Source, now: float) -> None:
        """Note that what ``source`` said holds still."""
        view = self._views.get(source)
        if view is not None and view.epoch >= self._floor(now):
            self._confirmed_at = now
            self._choose()

    def drop(self, source: Source, now: float) -> None:
        """Forget a source that can be asked no more; its view may still be the last one."""
        if self._views.pop(source, None) is not None and any(
            view.epoch >= self._floor(now) for view in self._views.values()
        ):
            self._choose()

    def newest(self, now: float) -> ClusterView | None:
        """Return the view that counts, None if there is none or nobody has confirmed it for long."""
        return self._chosen if now - self._confirmed_at <= BELIEVED_SECONDS else None

    def _floor(self, now: float) -> int:
        newest = self.newest(now)
        return 0 if newest is None else newest.epoch

    def _choose(self) -> None:
        """Choose the view of the highest epoch; the present source if another one is not better."""
        self._source, self._chosen = max(
            self._views.items(),
            key=lambda entry: (
                entry[1].epoch,
                not is_blind(entry[1]),
                entry[0] != WORKERS,
                entry[1].serving is not None,
                entry[0] == self._source,
            ),
        )


def is_blind(view: ClusterView) -> bool:
    """Return whether the overseer of this view cannot read the folder and shows the last state that it read."""
    return any(alert.kind == Verdict.FOLDER_UNAVAILABLE and alert.member == _OVERSEER for alert in view.alerts)
