"""The metrics of connections, for every program that serves some."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hanas_serving.admission import Admission


class ConnectionsCollector(Collector):
    """Shows the connections to each port."""

    def __init__(self, admissions: Mapping[str, Admission[Any]]) -> None:
        """Read from ``admissions``, by the name of the port, at each scrape."""
        self._admissions = admissions

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        for kind, suffix, text, value_of in (
            (GaugeMetricFamily, "", "Open connections.", lambda port: len(port.connections)),
            (GaugeMetricFamily, "_limit", "Most connections.", lambda port: port.limits.connections),
            (CounterMetricFamily, "_refused", "Answered 503, for want of room.", lambda port: port.refused),
            (CounterMetricFamily, "_displaced", "Closed to make room for others.", lambda port: port.displaced),
        ):
            family = kind(f"hanas_connections{suffix}", text, labels=["port"])
            for name, port in self._admissions.items():
                family.add_metric([name], value_of(port))
            yield family
