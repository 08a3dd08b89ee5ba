"""The open alerts of a cluster, as its status shows them: pure functions."""

import re
from collections.abc import Sequence

import msgspec

from hanas_core.members.documents import Alert
from hanas_operator.plain import plain
from hanas_operator.spec import WORKER
from hanas_operator.status import AlertStatus, HANasStatus
from hanas_operator.view import ClusterView


def of(view: ClusterView | None, before: HANasStatus, members: Sequence[str]) -> tuple[AlertStatus, ...]:
    """Return the open alerts, without those of workers that were removed: nobody misses them.

    One that is in ``before`` keeps its message, which may count seconds.
    """
    previous = {(alert.kind, alert.member, alert.about, alert.since): alert for alert in before.alerts}
    alerts = []
    for alert in () if view is None else view.alerts:
        if _is_of_removed(alert, members):
            continue
        status = msgspec.convert(plain(alert), AlertStatus)
        last = previous.get((status.kind, status.member, status.about, status.since))
        alerts.append(last if last is not None and last.severity == status.severity else status)
    return tuple(alerts)


def _is_of_removed(alert: Alert, members: Sequence[str]) -> bool:
    return any(re.fullmatch(WORKER, name) and name not in members for name in (alert.member, alert.about))
