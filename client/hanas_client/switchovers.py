"""`hanas switchover`: another worker becomes the main, as planned."""

from __future__ import annotations

import argparse
import time

from hanas_client import commands
from hanas_client.errors import HanasError, Refused
from hanas_client.sync import Client

_SECONDS = 10.0
"""How long the successor may take; a takeover takes less than a second."""
_CONFLICT = 409


def switch_over(arguments: argparse.Namespace) -> None:
    """Ask the main to hand over to a worker, and wait until that one serves."""
    with commands.connect(Client, arguments) as client:
        before = _main(client)
        began = time.monotonic()
        try:
            client.switch_over(arguments.worker)
        except Refused as refusal:
            # Of two requests, when the first answer was lost, the second one finds that it is done.
            if refusal.status != _CONFLICT or before == arguments.worker or _main(client) != arguments.worker:
                raise
        after = before
        while after == before and time.monotonic() - began < _SECONDS:
            after = _main(client)
        took = time.monotonic() - began
    if after != arguments.worker:
        raise HanasError(f"{before} handed over, but the main is {after} now; `hanas takeovers` shows why")
    document = {"from": before, "to": after, "seconds": round(took, 3)}
    commands.report(arguments, document, f"{after} is the main now, after {before}; it took {took:.3f} s")


def _main(client: Client) -> object:
    """Return the member that serves."""
    client.serving()
    return client.status().get("member")
