"""The face as a whole: what a port needs to speak etcd's API."""

from starlette.types import ASGIApp

from hanas_serving.gate import Gate, Gated
from hanas_serving.grpc.calls import Terms
from hanas_serving.grpc.dispatch import Grpc
from hanas_worker.faces.etcd import errors
from hanas_worker.faces.etcd.counting import Counts, counted
from hanas_worker.faces.etcd.facts import Facts
from hanas_worker.faces.etcd.gateway import Gateway
from hanas_worker.faces.etcd.kv import MOST_REQUEST_BYTES, Keys
from hanas_worker.faces.etcd.leases import Leases
from hanas_worker.faces.etcd.upkeep import Upkeep
from hanas_worker.faces.etcd.watch import PROGRESS_SECONDS, Watches

_OVERHEAD_BYTES = 512 << 10
"""A message may be larger than a request by so much."""
_TERMS = Terms(
    most_bytes=MOST_REQUEST_BYTES + _OVERHEAD_BYTES,
    stopping=errors.OUTCOME_UNKNOWN,
    crowded=errors.TOO_MANY_REQUESTS,
)


class Face:
    """etcd's API over HTTP/2, and its gateway over both versions of HTTP."""

    def __init__(
        self, facts: Facts, gate: Gate, *, metrics: ASGIApp | None = None, progress_seconds: float = PROGRESS_SECONDS
    ) -> None:
        """Serve the store of ``facts``, as JSON to those who pass ``gate``; ``metrics`` serves ``/metrics``.

        ``progress_seconds``: between two notifications of a quiet watch.
        """
        self.counts: Counts = {}
        """How often each method was called."""
        methods = counted(
            [
                *Keys(facts).methods(),
                *Watches(facts, progress_seconds).methods(),
                *Leases(facts).methods(),
                *Upkeep(facts).methods(),
            ],
            self.counts,
        )
        self.gateway: ASGIApp = Gated(Gateway(methods, facts, gate, metrics), gate)
        self.dispatch = Grpc(methods, _TERMS, self.gateway)
