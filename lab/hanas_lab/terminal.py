"""`hanas lab`: runs a lab until Ctrl-C, or controls one from another terminal."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from rich.console import Console

from hanas_client import commands, tables
from hanas_client.narration import Sentence
from hanas_client.settings import client_token
from hanas_lab import control
from hanas_lab.cluster import MAX_WORKERS, Lab
from hanas_lab.identities import CLIENT

DEFAULT_DIRECTORY = "./hanas-lab"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SUMMARIES = {
    "kill": "end a process at once (SIGKILL)",
    "stop": "stop a process (SIGSTOP)",
    "cont": "continue a stopped process (SIGCONT)",
    "start": "restart an ended process with its id and ports",
    "cut": "cut the link between two workers",
    "heal": "heal a cut link",
    "add": "start one more worker",
    "status": "show the lab's processes and cuts",
}
_PAST = {"kill": "killed", "stop": "stopped", "cont": "continued", "start": "started, ready"}


def configure(lab: argparse.ArgumentParser) -> None:
    """Add the arguments of `lab` and its own subcommands."""
    port = _number(0, 65_535)
    lab.add_argument("--directory", default=DEFAULT_DIRECTORY, help=f"for data and logs ({DEFAULT_DIRECTORY})")
    lab.add_argument("--workers", type=_number(1, MAX_WORKERS), default=3, metavar="N", help="number of workers (3)")
    lab.add_argument("--overseer-port", type=port, default=4000, metavar="PORT", help="4000; 0: a free one")
    lab.add_argument("--first-port", type=port, default=3001, metavar="PORT", help="3001; 0: free ones")
    lab.add_argument("--preset", choices=("lan", "cloud"), default="lan", help="timings: fast (lan) or patient")
    lab.add_argument("--etcd", action="store_true", help="workers speak etcd's API, 2000 above their ports")
    lab.add_argument("--tls", action="store_true", help="all processes speak TLS and show certificates")
    lab.set_defaults(lab_command=None)
    # The defaults of options on both levels must not replace values from before the subcommand.
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--directory", default=argparse.SUPPRESS, help="the lab's directory")
    shared.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    inner = lab.add_subparsers(dest="lab_command", required=False, metavar="COMMAND", title="control of a running lab")
    for name, summary in _SUMMARIES.items():
        command = inner.add_parser(name, parents=[shared], help=summary)
        if name in _PAST:
            command.add_argument("name", metavar="WORKER", help="such as worker-1; or overseer")
        if name in {"cut", "heal"}:
            command.add_argument("source", metavar="A")
            command.add_argument("target", metavar="B")
            command.add_argument("--one-way", action="store_true", help="only requests from A to B")
        command.set_defaults(run=send)


def run(arguments: argparse.Namespace) -> None:
    """Run a lab in this terminal."""
    asyncio.run(_until_signal(lambda: _run(arguments)))


def send(arguments: argparse.Namespace) -> None:
    """Send a command to a running lab."""
    name: str = arguments.lab_command
    values = {key: getattr(arguments, key) for key in ("name", "source", "target", "one_way") if key in arguments}
    result = control.command(arguments.directory, name, **values)
    if arguments.json:
        print(msgspec.json.encode(result if isinstance(result, dict) else {"done": name, "name": result}).decode())
    elif name == "status":
        _show_status(tables.console(), result)
    elif name == "add":
        print(f"{result} is ready")
    elif name in _PAST:
        print(f"{arguments.name}: {_PAST[name]}")
    else:
        arrow = "→" if arguments.one_way else "↔"
        print(f"link {arguments.source} {arrow} {arguments.target}: {'cut' if name == 'cut' else 'healed'}")


async def _until_signal(work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` until it ends or a signal to end arrives; then let it clean up."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work())
    signals: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        if not signals:
            task.cancel()
        signals.append(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, end, number)
    try:
        await task
    except asyncio.CancelledError:
        if not signals:
            raise
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


async def _run(arguments: argparse.Namespace) -> None:
    output = tables.console()
    with contextlib.ExitStack() as progress:
        lab = Lab(
            arguments.directory,
            arguments.workers,
            overseer_port=arguments.overseer_port,
            first_port=arguments.first_port,
            preset=arguments.preset,
            tls=arguments.tls,
            etcd=arguments.etcd,
            report=None if arguments.json else _progress(output, progress),
        )
        await lab.start()
    try:
        async with control.Control(lab):
            if arguments.json:
                print(msgspec.json.encode(lab.status()).decode(), flush=True)
            else:
                _welcome(output, lab, await lab.main(), arguments)
            trust = None if lab.identities is None else lab.identities.calling(CLIENT)
            await commands.narrate((lab.overseer_url,), client_token(None), trust, as_json=arguments.json, patient=True)
    finally:
        if not arguments.json:
            tables.say(output, Sentence("stopping all processes"))
        await lab.stop()


def _progress(output: Console, stack: contextlib.ExitStack) -> Callable[[str], None]:
    if not output.is_terminal:
        return lambda sentence: tables.say(output, Sentence(sentence))
    spinner = stack.enter_context(output.status("starting"))
    return spinner.update


def _welcome(output: Console, lab: Lab, main: str | None, arguments: argparse.Namespace) -> None:
    """Print the addresses, and commands to try."""
    dashboard = lab.overseer_url.replace("127.0.0.1", "localhost")
    rows = [("overseer, dashboard", f"{dashboard}/")]
    rows += [(f"{name} (main)" if name == main else name, url) for name, url in lab.urls.items()]
    rows += [(f"{name}, etcd's API", url) for name, url in lab.etcd_urls.items()]
    tables.show(output, ("SERVER", "URL"), rows)
    here = "" if arguments.directory == DEFAULT_DIRECTORY else f" --directory {arguments.directory}"
    there = "" if arguments.overseer_port == 4000 else f" --overseer {dashboard}"
    name = main or "worker-1"
    other = next((worker for worker in lab.urls if worker != name), None)
    third = "add" if other is None else f"cut {name} {other}"
    output.print()
    tables.say(output, Sentence("Try in another terminal:"))
    if lab.identities is not None:
        settings = " ".join(f"{name}={path}" for name, path in lab.identities.environment(CLIENT).items())
        tables.say(output, Sentence(f"  export {settings}", "good"))
    for command in (f"put greeting hello{there}", f"lab kill {name}{here}", f"lab {third}{here}"):
        tables.say(output, Sentence(f"  hanas {command}", "good"))
    tables.say(output, Sentence(f"Ctrl-C ends the lab. Data and logs stay in {arguments.directory}. Events:"))
    output.print()


def _show_status(output: Console, status: dict[str, Any]) -> None:
    servers = [status["overseer"], *status["workers"]]
    rows = [
        (server["name"], server["state"], str(server["pid"] or "–"), server["url"], server["log"]) for server in servers
    ]
    tables.show(output, ("SERVER", "STATE", "PID", "URL", "LOG"), rows)
    for direction in status["cuts"]:
        tables.say(output, Sentence(f"cut: {direction['from']} → {direction['to']}", "bad"))


def _number(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be {least} to {most}")
        return int(text)

    return number
