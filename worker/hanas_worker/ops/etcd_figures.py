"""The port of etcd's API, in the metrics and in the status."""

from collections.abc import Iterator

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from hanas_worker.host.host import Host


class EtcdState(msgspec.Struct, frozen=True, rename="camel"):
    """etcd's API at one worker."""

    requests: int
    """Calls that it answered itself, whatever the answer was."""
    relayed: int
    """Connections that it carries to the main, or that wait for one."""
    waiting: int
    """... of which so many wait."""
    relays: int
    """Connections that it has carried, since the start."""
    refused: int
    """Connections that it has closed since there were too many to carry."""

    @classmethod
    def of(cls, host: Host) -> "EtcdState | None":
        """Return the present state; None if it is not spoken here."""
        relays, calls = host.relays, host.etcd_calls
        if relays is None:
            return None
        return cls(sum(calls.values()), len(relays), relays.waiting, relays.carried, relays.refused)


def metrics_of(host: Host) -> Iterator[Metric]:
    """Yield the metrics; none if it is not spoken here."""
    state = EtcdState.of(host)
    if state is None:
        return
    requests = CounterMetricFamily("hanas_etcd_requests", "Calls of etcd's API, by method.", labels=["method"])
    for method, count in host.etcd_calls.items():
        requests.add_metric([method], count)
    yield requests
    yield GaugeMetricFamily("hanas_etcd_relayed", "Connections carried to the main, or waiting.", state.relayed)
    yield GaugeMetricFamily("hanas_etcd_waiting", "Connections that wait for a main.", state.waiting)
    yield CounterMetricFamily("hanas_etcd_relays", "Connections that were carried to a main.", state.relays)
    yield CounterMetricFamily("hanas_etcd_refused", "Connections closed, for want of room.", state.refused)
