"""The `hanas` command: its arguments, and the message and exit code of each error.

Exit codes: 0 done, 1 failed, 2 usage.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NoReturn, TypeAlias

from hanas_client import archive, bench, commands, coordination, lock_command, switchovers
from hanas_client.errors import BadAnswer, HanasError, Unavailable
from hanas_client.plain import plain
from hanas_core import release, streams
from hanas_core.upkeep.archive import BadArchive
from hanas_core.volume.errors import FolderError

_DESCRIPTION = "Use, watch and try out HANas, a highly available key-value store on a shared folder."
_EPILOG = "Begin with `hanas lab`, a whole cluster on this machine. Exit codes: 0 done, 1 failed, 2 usage."
# Commands in modules of their own, which an image may lack; `configure(parser)` adds arguments.
_MODULES = {
    "lab": ("hanas_lab.terminal", "run a whole cluster on this machine until Ctrl-C"),
    "demo": ("hanas_lab.demo", "show how HANas distinguishes a failed main from a failed link, and keeps a lock"),
    "adopt": ("hanas_client.adopt", "make a copied folder a cluster of its own, with a new id and no members"),
    "restore": ("hanas_client.restore", "make an empty folder a HANas folder with the keys of an archive"),
    "client-token": ("hanas_client.tokens", "make a token for a client, and the lines for HANAS_CLIENTS_FILE"),
    "certs": ("hanas_client.certs", "make certificates for trying out and for small installations"),
    "fsck": ("hanas_client.fsck", "check a folder while no worker runs"),
    "encryption-key": ("hanas_client.encryption", "make a key that encrypts what lies in the folder"),
}

DONE, FAILED, USAGE = 0, 1, 2

Expected: TypeAlias = HanasError | BadArchive | FolderError | OSError
"""The errors that are told without a traceback."""
Parsers: TypeAlias = "argparse._SubParsersAction[_Parser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return perform(parser(), arguments, _words)


def perform(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    words: Callable[[Expected], str],
) -> int:
    """Run the subcommand of ``arguments`` and return its exit code. Expected errors show no traceback.

    ``words`` returns the message of an error, with the remedy.
    """
    name = parser.prog
    streams.open_standard()
    if sys.stdout is None:
        return _fail(name, "standard output is closed: send it to a file, a program or /dev/null", FAILED)
    try:
        options = parser.parse_args(arguments)
    except SystemExit as end:  # argparse has printed the error
        return end.code if isinstance(end.code, int) else USAGE
    run: Callable[[argparse.Namespace], int | None] = options.run
    try:
        code = run(options) or DONE
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        code = DONE
    except (HanasError, BadArchive, FolderError, OSError) as error:
        code = _fail(name, words(error), FAILED)
        _drop_output()
    except ValueError as error:
        code = _fail(name, str(error), USAGE)
    except KeyboardInterrupt:
        code = FAILED
    return code


def _drop_output() -> None:
    """Forget what could not be written: Python would report an error when it flushes at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """Says what to do about a key or value that looks like an option."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, and end with the exit code 2."""
        if "unrecognized arguments: -" in message or "required: KEY" in message:
            message += "; a key or value that begins with '-' comes behind '--': hanas put -- KEY VALUE"
        if "required: PREFIX" in message:
            message += " ('' for all keys); for what happens in the cluster: hanas events"
        super().error(plain(message))


def parser() -> _Parser:
    """Return the parser of all subcommands."""
    top = _Parser(prog="hanas", description=_DESCRIPTION, epilog=_EPILOG)
    top.add_argument("--version", action="version", version=f"%(prog)s {release.installed()}")
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = _common()
    connection = _connection()
    _add_key_commands(subparsers, [connection, common])
    _add_coordination_commands(subparsers, [connection, common])
    _add_cluster_commands(subparsers, [connection, common])
    _add_archive_commands(subparsers, [connection])
    bench.configure(subparsers.add_parser("bench", parents=[connection, common], help="measure a running cluster"))
    init = subparsers.add_parser("init", parents=[common], help="make an empty folder a HANas folder")
    init.add_argument("folder", metavar="FOLDER", help="the shared folder, mounted and empty")
    init.set_defaults(run=commands.init)
    check = subparsers.add_parser(
        "check-folder", parents=[common], help="test whether a volume is fit for HANas; safe beside a running cluster"
    )
    check.add_argument("folder", metavar="FOLDER", help="the shared folder as it is mounted here")
    check.add_argument(
        "second", metavar="SECOND", nargs="?", help="the same volume at another mount, which must show the same data"
    )
    check.set_defaults(run=commands.check_folder)
    for name, (module, summary) in _MODULES.items():
        if importlib.util.find_spec(module.partition(".")[0]) is not None:
            _add_module(subparsers, name, summary, importlib.import_module(module))
    return top


def _common() -> _Parser:
    common = _Parser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON, for machines")
    return common


def _connection(timeout: float | None = 30.0, words: str = "") -> _Parser:
    connection = _Parser(add_help=False)
    group = connection.add_argument_group("which cluster")
    group.add_argument(
        "--overseer",
        metavar="URLS",
        help="base URLs of overseers, comma-separated (OVERSEER_IP; http://localhost:4000)",
    )
    group.add_argument("--server", metavar="URLS", help="base URLs of workers, comma-separated (HANAS_SERVER)")
    group.add_argument("--token-file", metavar="FILE", help="first line: bearer token (HANAS_CLIENT_TOKEN_FILE)")
    add_certificates(group)
    group.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=positive_seconds,
        default=timeout,
        help=words or "limit for the call (30); 2 s at most while no server answers",
    )
    group.add_argument(
        "--any-worker", action="store_true", help="use any worker, not the main: where backups serve (HANAS_BACKUPS)"
    )
    return connection


def add_certificates(group: argparse._ActionsContainer) -> None:
    """Add the options of TLS."""
    for option, name, words in (
        ("--cacert", "tls_ca", "authorities to trust over TLS, PEM (HANAS_TLS_CA)"),
        ("--cert", "tls_cert", "certificate to show, PEM (HANAS_TLS_CERT)"),
        ("--key", "tls_key", "its private key (HANAS_TLS_KEY)"),
    ):
        group.add_argument(option, dest=name, metavar="FILE", help=words)


def _add_key_commands(subparsers: Parsers, parents: list[_Parser]) -> None:
    put = subparsers.add_parser("put", parents=parents, help="write a value")
    put.add_argument("key", metavar="KEY")
    put.add_argument(
        "value", metavar="VALUE", nargs="?", default="-", help="the value; @FILE; - (default): standard input"
    )
    put.add_argument("--content-type", metavar="TYPE", help="media type of the value")
    put.add_argument("--lease", metavar="ID", type=_positive_count, help="the lease with which the key ends")
    condition = put.add_mutually_exclusive_group()
    condition.add_argument("--if-match", metavar="VERSION", help="only over this version")
    condition.add_argument("--if-none-match", action="store_true", help="only if the key is new")
    put.set_defaults(run=commands.put)

    get = subparsers.add_parser("get", parents=parents, help="print a value as it is")
    get.add_argument("key", metavar="KEY")
    get.add_argument("--stale", action="store_true", help="a backup may answer, with its applied state")
    get.add_argument("--revision", metavar="N", type=_positive_count, help="as it was at this revision")
    get.set_defaults(run=commands.get)

    delete = subparsers.add_parser("delete", parents=parents, help="remove a key")
    delete.add_argument("key", metavar="KEY")
    delete.add_argument("--if-match", metavar="VERSION", help="only at this version")
    delete.set_defaults(run=commands.delete)

    listing = subparsers.add_parser("list", parents=parents, help="print keys in order")
    listing.add_argument("--prefix", default="", help="only keys with this prefix")
    listing.add_argument("--after", metavar="KEY", help="only keys after this one")
    listing.add_argument("--limit", metavar="N", type=_positive_count, help="at most N keys (all)")
    listing.add_argument("--revision", metavar="N", type=_positive_count, help="as they were at this revision")
    listing.set_defaults(run=commands.list_keys)


def _add_coordination_commands(subparsers: Parsers, parents: list[_Parser]) -> None:
    words = "print each change of keys until Ctrl-C; over takeovers, each one once"
    coordination.configure_watch(subparsers.add_parser("watch", parents=parents, help=words))
    words = "change several keys at once, or none"
    coordination.configure_txn(subparsers.add_parser("txn", parents=parents, help=words))
    words = "grant, renew, revoke and show leases, with which keys end"
    coordination.configure_lease(subparsers.add_parser("lease", help=words), parents)
    waiting = _connection(None, "limit of the wait for the lock (none)")
    words = "run a command while holding a lock"
    lock_command.configure(subparsers.add_parser("lock", parents=[waiting, _common()], help=words))


def _add_cluster_commands(subparsers: Parsers, parents: list[_Parser]) -> None:
    status = subparsers.add_parser("status", parents=parents, help="show members, links and alerts")
    status.set_defaults(run=commands.status)
    takeovers = subparsers.add_parser("takeovers", parents=parents, help="show the history of mains, with reasons")
    takeovers.add_argument("--verbose", "-v", action="store_true", help="with the evidence")
    takeovers.set_defaults(run=commands.takeovers)
    forget = subparsers.add_parser(
        "forget", parents=parents, help="declare that a failed member will not return; clears its alerts"
    )
    forget.add_argument("member", metavar="MEMBER")
    forget.set_defaults(run=commands.forget)
    switchover = subparsers.add_parser(
        "switchover", parents=parents, help="have the main hand over to a backup, before its machine is stopped"
    )
    switchover.add_argument("worker", metavar="WORKER", help="the member that shall be the main")
    switchover.set_defaults(run=switchovers.switch_over)
    events = subparsers.add_parser("events", parents=parents, help="print what happens in the cluster until Ctrl-C")
    events.set_defaults(run=commands.events)


def _add_archive_commands(subparsers: Parsers, parents: list[_Parser]) -> None:
    archive.configure_export(subparsers.add_parser("export", parents=parents, help="write all keys to an archive"))
    archive.configure_import(subparsers.add_parser("import", parents=parents, help="write the keys of an archive"))


def _add_module(subparsers: Parsers, name: str, summary: str, module: ModuleType) -> None:
    own = subparsers.add_parser(name, parents=[_common()], help=summary)
    own.set_defaults(run=module.run)
    if hasattr(module, "configure"):
        module.configure(own)


def positive_seconds(text: str) -> float:
    """Return a duration from the command line, in seconds."""
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0 seconds")
    return seconds


def _positive_count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count


def _words(error: Expected) -> str:
    """Return the message and, where it is not plain, the remedy."""
    if isinstance(error, OSError):
        return of_system(error)
    if isinstance(error, BadAnswer):
        return f"{error}; check --overseer and --server"
    if isinstance(error, Unavailable) and error.outcome_unknown:
        return f"{error}; `hanas get` shows which"
    if isinstance(error, Unavailable) and not error.contacted:
        return f"{error}; is the cluster running? Start one with `hanas lab`, or name one with --overseer or --server"
    return str(error)


def of_system(error: OSError) -> str:
    """Return the message of an error of the operating system."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def _fail(name: str, message: str, code: int) -> int:
    line = plain(" ".join(message.split()))
    print(f"{name}: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
