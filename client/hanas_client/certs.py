"""`hanas certs`: an authority and certificates in a directory, for trying out and for small installations."""

from __future__ import annotations

import argparse
from pathlib import Path

from hanas_client.commands import report

_WORKERS, _CLIENTS = ["worker-1", "worker-2", "worker-3"], ["client"]
_DAYS, _MOST_DAYS = 365.0, 3650.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments."""
    inner = parser.add_subparsers(dest="certs_command", required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("directory", metavar="DIRECTORY", help="where the files are, NAME.crt and NAME.key each")
    shared.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    shared.add_argument("--days", type=_days, default=_DAYS, help="how long they are valid (365)")
    some = argparse.ArgumentParser(add_help=False)
    for option, words in (
        ("--worker", "WORKER_ID of a worker; may be repeated"),
        ("--client", "name of a client; may be repeated"),
        ("--host", "name or address at which the components are reached, beside localhost; may be repeated"),
    ):
        some.add_argument(option, metavar="NAME", action="append", default=[], help=words)
    new = inner.add_parser("new", parents=[shared, some], help="make an authority, and certificates that it signs")
    new.set_defaults(run=_new)
    add = inner.add_parser("add", parents=[shared, some], help="have the same authority sign further ones")
    add.set_defaults(run=_add)
    renew = inner.add_parser("renew", parents=[shared], help="replace all but the authority's by new ones")
    renew.set_defaults(run=_renew)


def run(arguments: argparse.Namespace) -> None:
    """Never called: a subcommand is required."""
    raise AssertionError(arguments)


def _new(arguments: argparse.Namespace) -> None:
    from hanas_client import certificate_directory  # noqa: PLC0415  # its library takes long to load

    workers, clients = arguments.worker or _WORKERS, arguments.client or _CLIENTS
    directory = Path(arguments.directory)
    made = certificate_directory.create(directory, workers, clients, arguments.host, arguments.days)
    _tell(arguments, made, "made")


def _add(arguments: argparse.Namespace) -> None:
    from hanas_client import certificate_directory  # noqa: PLC0415

    workers, clients = arguments.worker, arguments.client
    if not (workers or clients):
        raise ValueError("name somebody with --worker or --client")
    directory = Path(arguments.directory)
    made = certificate_directory.add(directory, workers, clients, arguments.host, arguments.days)
    _tell(arguments, made, "made")


def _renew(arguments: argparse.Namespace) -> None:
    from hanas_client import certificate_directory  # noqa: PLC0415

    _tell(arguments, certificate_directory.renew(Path(arguments.directory), arguments.days), "renewed")


def _tell(arguments: argparse.Namespace, who: list[str], done: str) -> None:
    document: dict[str, object] = {"directory": arguments.directory, done: who}
    report(arguments, document, f"{done} in {arguments.directory}, .crt and .key each: {', '.join(who)}")


def _days(text: str) -> float:
    days = float(text)
    if not 0 < days <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(f"must be more than 0 and at most {_MOST_DAYS:g}")
    return days
