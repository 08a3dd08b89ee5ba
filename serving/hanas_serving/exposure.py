"""What a process leaves open to other machines: told once in its log, in its status, as a metric."""

import ipaddress
from collections.abc import Iterator
from enum import StrEnum

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hanas_serving.callers import Callers
from hanas_serving.principals import Action, may
from hanas_serving.settings import CLIENTS, LISTEN, SECRETS, TOKENS, ComponentSettings
from hanas_serving.tls_files import CERT, KEY, TlsFiles


class Exposed(StrEnum):
    """What can be open."""

    OPERATE = "operate"
    """Whoever reaches the process can act as a component."""
    WRITE = "write"
    """Whoever reaches the process can read and write all keys."""
    TRAFFIC = "traffic"
    """Whoever is on the way can read and change what is sent."""


_CONSEQUENCES = {
    Exposed.OPERATE: f"{SECRETS} is not set: whoever reaches this process can act as a component; set it everywhere",
    Exposed.WRITE: f"{TOKENS} is not set: whoever reaches this process can read and write all; set it, or {CLIENTS}",
    Exposed.TRAFFIC: (
        f"{CERT} is not set: whoever is on the way to this process reads and changes what is sent, tokens too; "
        f"set it and {KEY} (hanas certs new makes both)"
    ),
}


class Exposure(Collector):
    """What one process leaves open."""

    def __init__(self, values: ComponentSettings, tls: TlsFiles, callers: Callers) -> None:
        """Look at what these leave open; on loopback, nothing is open to other machines."""
        is_open = {
            Exposed.OPERATE: may(callers.stranger, Action.OPERATE),
            Exposed.WRITE: may(callers.stranger, Action.WRITE),
            Exposed.TRAFFIC: not tls.listening,
        }
        beyond = not (values.listen and ipaddress.ip_address(values.listen).is_loopback)
        self._open = [each for each in Exposed if beyond and is_open[each]]

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences for people."""
        return tuple(f"{_CONSEQUENCES[each]}, or {LISTEN}=localhost for this machine only" for each in self._open)

    def collect(self) -> Iterator[Metric]:
        """Yield the metric."""
        family = GaugeMetricFamily("hanas_exposed", "1: this is open to other machines.", labels=["what"])
        for each in Exposed:
            family.add_metric([each.value], float(each in self._open))
        yield family
