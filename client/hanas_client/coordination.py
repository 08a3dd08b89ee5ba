"""The subcommands `watch`, `txn` and `lease` of `hanas`."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from hanas_client import commands, places
from hanas_client.plain import plain
from hanas_client.sync import Client
from hanas_client.transactions import KeyState
from hanas_client.watching import Changes

_SHOWN_CHARS = 120
"""So much of a value is shown to people."""


def configure_watch(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hanas watch`."""
    parser.add_argument("prefix", metavar="PREFIX", help="only keys with this prefix; '' for all")
    parser.add_argument(
        "--from", dest="start", metavar="N", type=_number, help="the first revision to print (only what comes)"
    )
    parser.add_argument("--prev", action="store_true", help="with what the keys held before")
    parser.add_argument("--limit", metavar="N", type=_number, help="end after N revisions with changes (never)")
    parser.set_defaults(run=watch)


def configure_txn(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hanas txn`."""
    parser.add_argument(
        "file", metavar="FILE", nargs="?", default="-", help="the transaction as JSON; - (default): standard input"
    )
    parser.add_argument("--idempotency-key", metavar="KEY", help="carry it out once at most under this key")
    parser.set_defaults(run=txn)


def configure_lease(parser: argparse.ArgumentParser, parents: Sequence[argparse.ArgumentParser]) -> None:
    """Add the subcommands of `hanas lease`."""
    inner = parser.add_subparsers(dest="lease_command", required=True, metavar="COMMAND")
    begin = inner.add_parser("grant", parents=parents, help="begin a lease, and print its id")
    begin.add_argument("ttl", metavar="TTL", type=_number, help="seconds that it lives without a keep-alive")
    begin.add_argument("--id", dest="lease", metavar="ID", type=_number, help="an id of one's own (a random one)")
    begin.set_defaults(run=grant)
    keep = inner.add_parser("keepalive", parents=parents, help="keep a lease alive until Ctrl-C")
    keep.add_argument("--once", action="store_true", help="renew it once")
    keep.set_defaults(run=keep_alive)
    end = inner.add_parser("revoke", parents=parents, help="end a lease and delete its keys")
    end.set_defaults(run=revoke)
    show = inner.add_parser("show", parents=parents, help="print what remains of a lease, and its keys")
    show.set_defaults(run=show_lease)
    for each in (keep, end, show):
        each.add_argument("lease", metavar="ID", type=_number)


def watch(arguments: argparse.Namespace) -> None:
    """Print a line for each change of a key; with `--json` one for each revision."""
    with (
        contextlib.suppress(KeyboardInterrupt),
        commands.connect(Client, arguments) as client,
        client.watch(arguments.prefix, start=arguments.start, previous=arguments.prev) as changes,
    ):
        for revision in itertools.islice(changes, arguments.limit):
            if arguments.json:
                commands.print_json(_without_none(msgspec.to_builtins(revision)))
            else:
                print("\n".join(_lines(revision, previous=arguments.prev)), flush=True)


def txn(arguments: argparse.Namespace) -> None:
    """Carry out a transaction and print the answer."""
    from_file = arguments.file != places.STANDARD
    body = Path(arguments.file).read_bytes() if from_file else places.standard_input().read()
    with commands.connect(Client, arguments) as client:
        commands.print_json(client.raw_txn(body, idempotency_key=arguments.idempotency_key))


def grant(arguments: argparse.Namespace) -> None:
    """Begin a lease."""
    with commands.connect(Client, arguments) as client:
        granted = client.grant_lease(arguments.ttl, arguments.lease)
    commands.report(arguments, {"id": granted.id, "ttl": granted.ttl}, str(granted.id))


def keep_alive(arguments: argparse.Namespace) -> None:
    """Renew a lease, once or every third of its time to live."""
    with contextlib.suppress(KeyboardInterrupt), commands.connect(Client, arguments) as client:
        while True:
            renewed = client.keep_alive(arguments.lease)
            document: dict[str, object] = {"id": renewed.id, "ttl": renewed.ttl}
            commands.report(arguments, document, f"{renewed.id} lives for {renewed.ttl} s")
            if arguments.once:
                return
            time.sleep(renewed.ttl / 3)


def revoke(arguments: argparse.Namespace) -> None:
    """End a lease."""
    with commands.connect(Client, arguments) as client:
        client.revoke_lease(arguments.lease)
    commands.report(arguments, {"id": arguments.lease, "revoked": True}, f"{arguments.lease} is revoked")


def show_lease(arguments: argparse.Namespace) -> None:
    """Print a lease and its keys."""
    with commands.connect(Client, arguments) as client:
        lease = client.show_lease(arguments.lease)
    document: dict[str, object] = msgspec.to_builtins(lease)
    commands.report(arguments, document, f"{lease.id} lives for {lease.remaining} of {lease.ttl} s")
    if not arguments.json:
        for key in lease.keys:
            print(plain(key))


def _lines(revision: Changes, *, previous: bool) -> list[str]:
    lines = []
    for change in revision.changes:
        words = [str(revision.revision), "delete" if change.put is None else "put", plain(change.key)]
        words.append("–" if change.put is None else _shown(change.put))
        if previous:
            words.append("–" if change.previous is None else _shown(change.previous))
        lines.append("\t".join(words))
    return lines


def _shown(state: KeyState) -> str:
    """Return a value for people."""
    if state.text is None:
        return f"revision {state.mod}" if state.omitted else f"{len(state.value)} bytes"
    return plain(state.text if len(state.text) <= _SHOWN_CHARS else state.text[:_SHOWN_CHARS] + "…")


def _without_none(document: Any) -> Any:
    if isinstance(document, dict):
        return {name: _without_none(value) for name, value in document.items() if value is not None}
    return [_without_none(each) for each in document] if isinstance(document, list | tuple) else document


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be a number from 1 on")
    return number
