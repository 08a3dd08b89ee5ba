"""What anybody may do who reaches a process from another machine: told once in its log, in its status, as a metric."""

import ipaddress
from collections.abc import Iterator

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hanas_serving.callers import Callers
from hanas_serving.principals import Action, may
from hanas_serving.settings import CLIENTS, LISTEN, SECRETS, TOKENS, ComponentSettings

_CONSEQUENCES = {
    Action.OPERATE: f"{SECRETS} is not set: whoever reaches this process can act as a component; set it everywhere",
    Action.WRITE: f"{TOKENS} is not set: whoever reaches this process can read and write all; set it, or {CLIENTS}",
}


class Exposure(Collector):
    """What one process lets everybody do."""

    def __init__(self, values: ComponentSettings, callers: Callers) -> None:
        """Look at what ``values`` and ``callers`` leave open; on loopback, nothing is open to other machines."""
        beyond = not (values.listen and ipaddress.ip_address(values.listen).is_loopback)
        self._open = [action for action in _CONSEQUENCES if beyond and may(callers.stranger, action)]

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences for people."""
        return tuple(f"{_CONSEQUENCES[action]}, or {LISTEN}=localhost for this machine only" for action in self._open)

    def collect(self) -> Iterator[Metric]:
        """Yield the metric."""
        family = GaugeMetricFamily(
            "hanas_exposed", "1: who reaches this process from elsewhere may do this without a token.", labels=["what"]
        )
        for action in _CONSEQUENCES:
            family.add_metric([action.value], float(action in self._open))
        yield family
