"""The metrics for Prometheus: the last state of the cluster, and the actions of this overseer."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from hanas_core.members.documents import LEFT
from hanas_core.members.roles import LinkState, Role
from hanas_core.members.verdicts import Severity
from hanas_overseer.documents import ClusterDocument
from hanas_overseer.watcher import Watcher
from hanas_serving.admission import Admission
from hanas_serving.gauges import ConnectionsCollector
from hanas_serving.http1 import Connection

Labels = TypeVar("Labels", bound=tuple[str, ...])


class OverseerMetrics:
    """The metrics of one overseer."""

    def __init__(self, watcher: Watcher, admission: Admission[Connection], *more: Collector) -> None:
        """Export the state that ``watcher`` publishes, the connections, and what ``more`` has."""
        self._admission, self._open_streams = admission, 0
        self._registry = CollectorRegistry()
        for collector in more:
            self._registry.register(collector)
        ProcessCollector(registry=self._registry)
        self._rulings = Counter(
            "hanas_overseer_rulings", "Takeovers that this overseer was asked for", ["granted"], registry=self._registry
        )
        streams = Gauge("hanas_overseer_event_streams", "Open event streams", registry=self._registry)
        streams.set_function(lambda: self._open_streams)
        self._registry.register(_ClusterCollector(watcher))
        self._registry.register(ConnectionsCollector({"clients": admission}))

    def ruled(self, *, granted: bool) -> None:
        """Count a ruling."""
        self._rulings.labels("yes" if granted else "no").inc()

    @property
    def room_for_stream(self) -> bool:
        """Whether one more event stream leaves enough connections for other calls."""
        return 2 * self._open_streams < self._admission.limits.connections

    async def counted(self, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield ``content``, an event stream, and count it as open meanwhile."""
        self._open_streams += 1
        try:
            async for piece in content:
                yield piece
        finally:
            self._open_streams -= 1

    def response(self) -> Response:
        """Return everything in the text format."""
        return Response(generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


class _ClusterCollector(Collector):
    """The latest publication at the time of each scrape."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def collect(self) -> Iterator[Metric]:
        """Yield one family after the other."""
        age = self._watcher.age
        yield GaugeMetricFamily(
            "hanas_overseer_folder_age_seconds",
            "Time since the folder was last read; -1: it has not been read yet",
            value=-1 if age is None else age,
        )
        published = self._watcher.board.published
        if published is not None and published.observation is not None:
            yield from families(published.cluster)


def families(cluster: ClusterDocument) -> Iterator[Metric]:
    """Yield the content of the cluster document as metrics."""
    yield GaugeMetricFamily("hanas_epoch", "The highest epoch", value=cluster.epoch)
    members = [member for member in cluster.members if member.role != LEFT]  # one that left in order raises no alarm
    alive = {(member.member,): member.alive is not False for member in members}
    yield _family("hanas_member_alive", "1: the member is alive", ["member"], alive)
    mains = {(member.member,): member.role in {Role.MAIN, Role.ELECT} for member in members}
    yield _family("hanas_member_main", "1: the member holds the highest epoch", ["member"], mains)
    lags = {(member.member,): member.lag_bytes for member in members}
    yield _family(
        "hanas_member_lag_bytes", "Committed bytes of the log that the member has not applied", ["member"], lags
    )
    verdicts = {(member.member, member.verdict): 1 for member in members}
    yield _family(
        "hanas_member_verdict", "1: the verdict of the member about the main", ["member", "verdict"], verdicts
    )
    links = {(state,): sum(link.state is state for link in cluster.links) for state in LinkState}
    yield _family("hanas_links", "Links between members by state", ["state"], links)
    failed = {(link.origin, link.to): link.state is LinkState.FAILED for link in cluster.links}
    yield _family("hanas_link_failed", "1: keep-alives from one member do not reach the other", ["from", "to"], failed)
    severities = {(severity,): sum(alert.severity is severity for alert in cluster.alerts) for severity in Severity}
    yield _family("hanas_alerts", "Open alerts by severity", ["severity"], severities)
    alerts = {(alert.kind, alert.severity, alert.member, alert.about): 1 for alert in cluster.alerts}
    yield _family("hanas_alert", "1 for each open alert", ["kind", "severity", "member", "about"], alerts)
    last = next((entry.durations for entry in reversed(cluster.takeovers) if entry.durations is not None), None)
    if last is not None:
        seconds = {(part,): getattr(last, part) for part in ("detection", "claim", "replay", "total")}
        yield _family("hanas_takeover_seconds", "Duration of the last takeover by part", ["part"], seconds)


def _family(name: str, text: str, labels: Sequence[str], values: Mapping[Labels, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric([str(label) for label in key], value)
    return family
