"""`kubectl hanas`: its arguments. kubectl runs the program `kubectl-hanas` that it finds in PATH.

Exit codes: 0 done, 1 failed, 2 usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from hanas_client import cli
from hanas_client.kubectl import changes, views
from hanas_core import release

_DESCRIPTION = "See and steer HANas, a highly available key-value store, on Kubernetes."
_EPILOG = "Options stand behind the subcommand. Exit codes: 0 done, 1 failed, 2 usage."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return cli.perform(parser(), arguments, _words)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    top = argparse.ArgumentParser(prog="kubectl hanas", description=_DESCRIPTION, epilog=_EPILOG)
    top.add_argument("--version", action="version", version=f"%(prog)s {release.installed()}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    where, asking = [_where()], [_where(), _asking()]

    status = commands.add_parser("status", parents=asking, help="show conditions, members, links and alerts")
    status.set_defaults(run=views.status)
    takeovers = commands.add_parser("takeovers", parents=asking, help="show the history of mains: why, with evidence")
    takeovers.add_argument("--brief", action="store_true", help="without the evidence")
    takeovers.set_defaults(run=views.takeovers)

    switchover = commands.add_parser("switchover", parents=where, help="have another worker become the main")
    switchover.add_argument("worker", metavar="WORKER", help="the next main, such as worker-1")
    _add_timeout(switchover, "until it is the main", 30.0)
    switchover.set_defaults(run=changes.switch_over)
    cut = commands.add_parser("cut", parents=where, help="cut the link between two members for a while")
    cut.add_argument("source", metavar="A", help="a worker, such as worker-0")
    cut.add_argument("target", metavar="B", help="another worker; overseer; or '*' for all of them")
    cut.add_argument("--for", dest="duration", metavar="DURATION", default="1m", help="such as 30s or 1m30s (1m)")
    cut.add_argument("--one-way", action="store_true", help="only connections from A to B")
    cut.add_argument("--clients", action="store_true", help="the HTTP interfaces too, not only keep-alives")
    cut.set_defaults(run=changes.cut)
    heal = commands.add_parser("heal", parents=where, help="heal what was cut")
    heal.add_argument("source", metavar="A", nargs="?")
    heal.add_argument("target", metavar="B", nargs="?")
    heal.add_argument("--all", action="store_true", help="all cut links of the HANas")
    heal.set_defaults(run=changes.heal)
    backup = commands.add_parser("backup", parents=where, help="make a backup of all keys")
    backup.add_argument("--no-wait", action="store_true", help="do not wait for its end")
    _add_timeout(backup, "until it is made", 600.0)
    backup.set_defaults(run=changes.back_up)
    return top


def _where() -> argparse.ArgumentParser:
    """Return the options that all subcommands have."""
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("which HANas")
    group.add_argument("--cluster", "-c", metavar="NAME", help="name of the HANas; not needed if it is the only one")
    group.add_argument("--namespace", "-n", metavar="NAMESPACE", help="as for kubectl")
    group.add_argument("--context", metavar="CONTEXT", help="as for kubectl")
    group.add_argument("--kubeconfig", metavar="FILE", help="as for kubectl")
    common.add_argument("--json", action="store_true", help="print JSON, for machines")
    return common


def _asking() -> argparse.ArgumentParser:
    """Return the options of subcommands that ask an overseer."""
    asking = argparse.ArgumentParser(add_help=False)
    asking.add_argument("--token-file", metavar="FILE", help="first line: a client's token (that of the HANas' Secret)")
    cli.add_certificates(asking)
    return asking


def _add_timeout(parser: argparse.ArgumentParser, until: str, default: float) -> None:
    words = f"how long to wait {until} ({default:.0f})"
    parser.add_argument("--timeout", metavar="SECONDS", type=cli.positive_seconds, default=default, help=words)


def _words(error: cli.Expected) -> str:
    return cli.of_system(error) if isinstance(error, OSError) else str(error)


if __name__ == "__main__":
    sys.exit(main())
