"""The memory for bodies and answers, in the metrics and in the status."""

from collections.abc import Iterator

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hanas_serving.budget import Budget


class MemoryState(msgspec.Struct, frozen=True, rename="camel"):
    """The memory for bodies and answers under way."""

    budget_bytes: int
    """What they may take (``HANAS_MEMORY``)."""
    used_bytes: int
    refusals: int
    """Requests that were refused because there was none, since the start."""
    losses: int
    """Clients that sent or read slowly and lost theirs to others, since the start."""

    @classmethod
    def of(cls, memory: Budget) -> "MemoryState":
        """Return the present state."""
        return cls(memory.most, memory.used, memory.refusals, memory.losses)


class MemoryCollector(Collector):
    """Shows one budget to Prometheus."""

    def __init__(self, memory: Budget) -> None:
        """Read from ``memory`` at each scrape."""
        self._memory = memory

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        state = MemoryState.of(self._memory)
        yield GaugeMetricFamily(
            "hanas_memory_budget_bytes", "What bodies and answers under way may take.", state.budget_bytes
        )
        yield GaugeMetricFamily("hanas_memory_used_bytes", "What they take.", state.used_bytes)
        yield CounterMetricFamily("hanas_memory_refusals", "Requests refused for want of it.", state.refusals)
        yield CounterMetricFamily("hanas_memory_losses", "Slow clients that lost theirs to others.", state.losses)
