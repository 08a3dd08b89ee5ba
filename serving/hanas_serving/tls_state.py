"""The TLS of a process, in its metrics and in its status."""

from collections.abc import Iterator

import msgspec
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hanas_serving.tls import Tls


class TlsState(msgspec.Struct, frozen=True, rename="camel"):
    """How the ports of a process are protected."""

    on: bool
    """False: whoever is on the way reads and changes what is sent."""
    client_certificates: bool
    """Whether those who connect are asked for certificates, which then count in place of the secret."""
    expiry_seconds: float | None
    """How long the own certificate is still valid; negative if it has expired."""
    trouble: str | None

    @classmethod
    def of(cls, tls: Tls | None) -> "TlsState":
        """Return the present state. None: without TLS."""
        if tls is None:
            return cls(on=False, client_certificates=False, expiry_seconds=None, trouble=None)
        return cls(tls.files.listening, tls.files.certified, tls.left_seconds, tls.trouble or None)


class TlsCollector(Collector):
    """Shows it to Prometheus."""

    def __init__(self, tls: Tls | None) -> None:
        """Read from ``tls`` at each scrape. None: without TLS."""
        self._tls = tls

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        state = TlsState.of(self._tls)
        yield GaugeMetricFamily("hanas_tls", "1 if the ports speak TLS.", int(state.on))
        if state.expiry_seconds is not None:
            text = "How long the certificate of this process is still valid; negative: it has expired."
            yield GaugeMetricFamily("hanas_certificate_expiry_seconds", text, state.expiry_seconds)
