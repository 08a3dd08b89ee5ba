"""The operator's metrics for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from hanas_operator.queue import Key
from hanas_operator.status import HANasStatus

_LABELS = ["namespace", "name"]


class OperatorMetrics:
    """The metrics of one operator."""

    def __init__(self) -> None:
        """Start at zero."""
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._reconciles = Counter("hanas_operator_reconciles", "Reconciles", ["result"], registry=registry)
        self.reconcile_seconds = Histogram(
            "hanas_operator_reconcile_seconds", "Time that a reconcile takes", registry=registry
        )
        self.label_seconds = Histogram(
            "hanas_operator_label_seconds", "From the news of a main to its label", registry=registry
        )
        self._conditions = Gauge(
            "hanas_operator_condition", "1: the condition is True; -1: Unknown", [*_LABELS, "type"], registry=registry
        )
        self._epoch = Gauge("hanas_operator_epoch", "The highest epoch of a cluster", _LABELS, registry=registry)
        self._ready = Gauge("hanas_operator_ready_workers", "Workers that are ready", _LABELS, registry=registry)
        self.leading = Gauge("hanas_operator_leading", "1: this operator reconciles", registry=registry)
        self._types: dict[Key, set[str]] = {}

    def count(self, result: str) -> None:
        """Count a reconcile: ``done`` or ``failed``."""
        self._reconciles.labels(result).inc()

    def show(self, key: Key, status: HANasStatus) -> None:
        """Set the metrics of a cluster."""
        self._epoch.labels(*key).set(status.epoch)
        self._ready.labels(*key).set(status.ready_workers)
        for condition in status.conditions:
            value = {"True": 1, "False": 0, "Unknown": -1}[condition.status]
            self._conditions.labels(*key, condition.type).set(value)
        self._types[key] = {condition.type for condition in status.conditions}

    def forget(self, key: Key) -> None:
        """Remove the metrics of a cluster."""
        types = self._types.pop(key, None)
        if types is not None:
            for kind in types:
                self._conditions.remove(*key, kind)
            self._epoch.remove(*key)
            self._ready.remove(*key)

    def text(self) -> bytes:
        """Return everything in the text format."""
        return generate_latest(self._registry)
