"""What a flow has in common with the others: how it begins, and how it has the store broken.

    python FLOWS.py ENDPOINT[,ENDPOINT...] FLOW

The lines that it prints are the same with every store that keeps etcd's promises. After the line "break" it waits for
a line on its standard input: the caller has then broken the store, and mended it.
"""

import signal
import sys
from collections.abc import Callable, Mapping

PATIENCE_SECONDS = 120
TTL_SECONDS = 6


def break_store() -> None:
    """Have the store broken and mended."""
    print("break", flush=True)
    sys.stdin.readline()


def begin(flows: Mapping[str, Callable[[list[str]], None]]) -> None:
    """Run the flow that the command line names, with the endpoints that it gives; it ends within two minutes."""
    signal.alarm(PATIENCE_SECONDS)
    endpoints, flow = sys.argv[1:]
    flows[flow](endpoints.split(","))


def lived_as_granted(seconds: float) -> None:
    """Check how long a lease of TTL_SECONDS has lived that nobody kept alive while the store broke once."""
    assert TTL_SECONDS < seconds < 3 * TTL_SECONDS, f"a lease of {TTL_SECONDS} s lived for {seconds:.1f} s"
    print(f"a lease that was left lived for {seconds:.1f} s", file=sys.stderr)
