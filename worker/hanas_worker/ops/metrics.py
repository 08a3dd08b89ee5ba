"""``GET /metrics``: read off the node when asked, so that the hot path only counts in plain integers."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hanas_core.members.documents import LOG
from hanas_serving.gauges import ConnectionsCollector
from hanas_worker.log.forwarder import NO_FIGURES, Figures
from hanas_worker.log.state import LogState
from hanas_worker.node import Node
from hanas_worker.ops import etcd_figures
from hanas_worker.ops.status import history_of, leases_of


class NodeCollector(Collector):
    """Shows one node to Prometheus."""

    def __init__(self, node: Node) -> None:
        """Read from ``node`` at each scrape."""
        self._node = node

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        node = self._node
        driver, alerts = node.logs[LOG], node.presence.alerts
        state, service, compactor = driver.state, driver.serving, driver.compactor
        member, standing = state.member, state.standing
        garbage, space = compactor.measure()
        batches, checks = (service.batches, service.checks) if service else (0, 0)
        for label, text, current in (
            ("role", "1 for the role that this worker has.", member.role),
            ("verdict", "1 for the present verdict.", member.verdict),
        ):
            gauge = GaugeMetricFamily(f"hanas_{label}", text, labels=[label])
            for candidate in type(current):
                gauge.add_metric([candidate.value], float(candidate is current))
            yield gauge
        for name, text, value in (
            ("hanas_epoch", "Highest epoch known.", member.epoch),
            ("hanas_keys", "Number of keys.", standing.keys),
            ("hanas_value_bytes", "Bytes of all values.", standing.value_bytes),
            ("hanas_revision", "Sequence of the last write applied.", standing.sequence),
            ("hanas_lag_bytes", "Committed bytes of the log that are not applied yet.", standing.lag_bytes),
            ("hanas_serving", "1 while this worker is the main and serves.", int(service is not None)),
            ("hanas_stalled_seconds", "Age of the oldest uncommitted write.", service.stalled_for if service else 0.0),
            ("hanas_folder_ok", "1 while the folder works here.", int(node.folder_works)),
            ("hanas_folder_full", "1 while the volume has no room.", int(node.folder_full)),
            ("hanas_log_bytes", "Space of the sealed segments, at the main.", space),
            ("hanas_garbage_bytes", "What of it is garbage, about.", garbage),
            ("hanas_compacting", "1 while the log is being compacted.", int(compactor.running)),
            ("hanas_alerts", "Open alerts of this worker.", len(alerts)),
        ):
            yield GaugeMetricFamily(name, text, value)
        open_alerts = GaugeMetricFamily(
            "hanas_alert", "1 for each open alert of this worker.", labels=["kind", "severity", "about"]
        )
        for alert in alerts:
            open_alerts.add_metric([alert.kind, alert.severity, alert.about], 1.0)
        yield open_alerts
        segments = GaugeMetricFamily(
            "hanas_encryption_segments", "Segments of the log by the id of their key.", labels=["key"]
        )
        sizes = GaugeMetricFamily("hanas_encryption_bytes", "Bytes of these segments.", labels=["key"])
        for use in driver.keyring.uses:
            segments.add_metric([use.key], use.segments)
            sizes.add_metric([use.key], use.size)
        yield from (segments, sizes)
        yield from _store(state)
        yield from _forwarding(NO_FIGURES if state.forwarder is None else state.forwarder.figures)
        yield from ConnectionsCollector(node.host.admissions).collect()
        yield from etcd_figures.metrics_of(node.host)
        for name, text, count in (
            ("hanas_batches", "Batches that this main committed in its present epoch.", batches),
            ("hanas_compactions", "How often this worker has compacted the log.", compactor.runs),
            ("hanas_freed_bytes", "What was freed by that.", compactor.freed_bytes),
            ("hanas_checks", "Seal checks for reads in its present epoch.", checks),
        ):
            yield CounterMetricFamily(name, text, count)


def _store(state: LogState) -> Iterator[Metric]:
    """Yield the metrics of history, leases and watches; those of the copy not while it is lent to a takeover."""
    history, leases, tally = history_of(state), leases_of(state), state.tally
    if history is not None and leases is not None:
        for name, text, value in (
            ("hanas_store_revision", "Revision of the store; 0: it has none yet.", history.revision),
            ("hanas_compacted_revision", "The lowest revision that can be read.", history.compacted),
            ("hanas_history_changes", "Versions and deletes that are remembered.", history.changes),
            ("hanas_history_bytes", "What they take in memory, about.", history.bytes),
            ("hanas_history_value_bytes", "Values that only the past needs, on the volume.", history.value_bytes),
            ("hanas_leases", "Leases.", leases.granted),
            ("hanas_leased_keys", "Keys that are attached to a lease.", leases.keys),
        ):
            yield GaugeMetricFamily(name, text, value)
    yield GaugeMetricFamily("hanas_watches", "Open watches at this worker.", tally.watches)
    for name, text, count in (
        ("hanas_history_cuts", "How often history was forgotten before its time, for want of room.", tally.cuts),
        ("hanas_lease_expiries", "Leases that expired while this worker was the main.", tally.expiries),
        ("hanas_watches_lost", "Watches that ended because their changes were forgotten.", tally.watches_lost),
    ):
        yield CounterMetricFamily(name, text, count)


def _forwarding(figures: Figures) -> Iterator[Metric]:
    """Yield the metrics of a worker that serves while another one is the main."""
    yield GaugeMetricFamily("hanas_forwarding_connected", "1 with a line to a main.", int(figures.connected))
    yield GaugeMetricFamily("hanas_forwarding_waiting", "Requests of clients without an answer.", figures.waiting)
    yield CounterMetricFamily("hanas_forwarded_writes", "Writes of clients that were forwarded.", figures.writes)
    yield CounterMetricFamily("hanas_read_questions", "Read indexes that were asked for.", figures.questions)
