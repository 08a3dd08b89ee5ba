"""The subcommands of `hanas`; each takes the parsed arguments and raises what `cli.main` reports."""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import os
import ssl
import sys
import time
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hanas_client import places, tables, transport
from hanas_client.base import BaseClient
from hanas_client.errors import BadAnswer, HanasError, Unavailable
from hanas_client.events import follow
from hanas_client.narration import Narrator, Sentence, as_json_line
from hanas_client.plain import is_obeyed, plain, plain_json
from hanas_client.settings import Policy, addresses, client_token, tls_files
from hanas_client.sync import Client
from hanas_core.members.cluster import initialise
from hanas_core.volume import blocking, fitness, names
from hanas_core.volume.posix import PosixFolder

# A cluster that never answers probably does not exist, and a person waits at the terminal.
FIRST_CONTACT_SECONDS = 2.0

C = TypeVar("C", bound=BaseClient[Any])


def put(arguments: argparse.Namespace) -> None:
    """Write a value."""
    value = _value(arguments.value)
    with connect(Client, arguments) as client:
        written = client.put(
            *(arguments.key, value, arguments.content_type, arguments.if_match, arguments.if_none_match),
            lease=arguments.lease,
        )
    document = {"key": arguments.key, "created": written.created, "version": written.version}
    words = "created" if written.created else "replaced"
    report(arguments, document, f"{words} {arguments.key}, version {written.version}")


def get(arguments: argparse.Namespace) -> None:
    """Print a value: its bytes as they are, or with `--json` as text or base64."""
    with connect(Client, arguments) as client:
        value = client.get(arguments.key, stale=arguments.stale, revision=arguments.revision)
    if not arguments.json:
        if sys.stdout.isatty() and is_obeyed(value.value):
            raise HanasError(
                f"the value of {arguments.key} has control characters, which a terminal would obey; "
                "write it to a file (hanas get KEY > FILE), or use --json"
            )
        sys.stdout.buffer.write(value.value)
        sys.stdout.buffer.flush()
        return
    document = {"key": arguments.key, "version": value.version, "contentType": value.content_type}
    try:
        document["value"] = value.value.decode()
    except UnicodeDecodeError:
        document["valueBase64"] = base64.b64encode(value.value).decode()
    print_json(document)


def delete(arguments: argparse.Namespace) -> None:
    """Remove a key."""
    with connect(Client, arguments) as client:
        client.delete(arguments.key, arguments.if_match)
    report(arguments, {"key": arguments.key, "deleted": True}, f"deleted {arguments.key}")


def list_keys(arguments: argparse.Namespace) -> None:
    """Print keys with versions and sizes at once as pages arrive, a line each; with `--json` one document a line."""
    with connect(Client, arguments) as client:
        entries = client.list(arguments.prefix, arguments.after, arguments.limit, arguments.revision)
        if arguments.json:
            for entry in entries:
                print_json(entry)
            return
        if sys.stdout.isatty():
            rows = [(entry.key, entry.version, f"{entry.size} B") for entry in entries]
            tables.show(tables.console(), ("KEY", "VERSION", "SIZE"), rows)
            return
        for entry in entries:
            print(plain(entry.key), entry.version, entry.size, sep="\t")


def status(arguments: argparse.Namespace) -> None:
    """Show the cluster as the overseer reports it; with workers only, the status of each."""
    overseers, servers = addresses(arguments.overseer, arguments.server)
    with connect(Client, arguments) as client:
        if not overseers:
            for document in [client.status(url) for url in servers]:
                print_json(document)
            return
        cluster = client.cluster()
    if arguments.json:
        print_json(cluster)
    else:
        tables.show_cluster(tables.console(), cluster)


def takeovers(arguments: argparse.Namespace) -> None:
    """Show the history of epochs."""
    with connect(Client, arguments) as client:
        history = client.takeovers()
    if arguments.json:
        print_json({"takeovers": history})
    else:
        tables.show_takeovers(tables.console(), history, verbose=arguments.verbose)


def forget(arguments: argparse.Namespace) -> None:
    """Declare that a member will not return."""
    with connect(Client, arguments) as client:
        client.forget(arguments.member)
    document = {"member": arguments.member, "forgotten": True}
    report(arguments, document, f"{arguments.member} is marked as left; it may join again at any time")


def events(arguments: argparse.Namespace) -> None:
    """Print a line per event of the cluster until Ctrl-C."""
    files = tls_files(arguments.tls_ca, arguments.tls_cert, arguments.tls_key)
    overseers, _ = addresses(arguments.overseer, arguments.server, scheme=files.client_scheme)
    if not overseers:
        raise ValueError("events come from an overseer; name one with --overseer")
    token = client_token(arguments.token_file)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(narrate(overseers, token, transport.trust(files), as_json=arguments.json))


async def narrate(
    overseers: tuple[str, ...],
    token: str | None,
    trust: ssl.SSLContext | None = None,
    *,
    as_json: bool,
    patient: bool = False,
) -> None:
    """Print events as they arrive. Unless `patient`, raise Unavailable if the first connection fails."""
    output = tables.console()
    narrator = Narrator()
    connected = patient

    def tell(trouble: str) -> None:
        if not connected:
            raise Unavailable(
                f"nothing answers ({trouble})", outcome_unknown=False, contacted=False, tries=1, elapsed=0.0
            )
        print(f"hanas: {plain(trouble)}; connecting again", file=sys.stderr, flush=True)

    stream = follow(overseers, token=token, trust=trust, on_trouble=tell)
    async for event in stream:
        connected = True
        if as_json:
            print(plain_json(as_json_line(event)), flush=True)
            continue
        try:
            sentences = narrator.describe(event)
        except BadAnswer as error:
            sentences = [Sentence(str(error), "bad")]
        for sentence in sentences:
            at = time.strftime("%H:%M:%S")
            tables.say(output, Sentence(f"{at}  {sentence.text}", sentence.tone))
            sys.stdout.flush()


def init(arguments: argparse.Namespace) -> None:
    """Initialise an empty folder as a HANas folder; an existing HANas folder stays unchanged."""
    folder = PosixFolder(Path(arguments.folder))
    try:
        fitness.require(blocking.run(fitness.Examination(folder, folder, fitness.hidden(), time.monotonic).run()))
    except fitness.Unfit as failure:
        raise HanasError(f"{arguments.folder} is unfit: {failure}") from None
    identity = blocking.run(initialise(folder))
    document = {"folder": os.path.abspath(arguments.folder), "folderId": identity.folder_id}
    report(arguments, document, f"{arguments.folder} is a HANas folder with the id {identity.folder_id}")


def check_folder(arguments: argparse.Namespace) -> None:
    """Test whether a volume satisfies the protocol, at one mount or between two."""
    places = [Path(arguments.folder), Path(arguments.second or arguments.folder)]
    directory = names.TEMPORARY + "/" if (places[0] / names.TEMPORARY).is_dir() else ""
    views = [PosixFolder(place) for place in places]
    checks = blocking.run(fitness.Examination(views[0], views[1], fitness.hidden(directory), time.monotonic).run())
    failed = next((check for check in checks if check.trouble is not None), None)
    if arguments.json:
        results = [{"what": check.what, "seconds": check.seconds, "trouble": check.trouble} for check in checks]
        print_json({"fit": failed is None, "checks": results})
    else:
        rows = [(check.what, check.trouble or "kept", f"{check.seconds * 1000:.1f} ms") for check in checks]
        tables.show(tables.console(), ("CHECK", "RESULT", "TOOK"), rows)
    if failed is not None:
        raise HanasError(f"{arguments.folder} is unfit: {failed.what}: {failed.trouble}")


def connect(kind: type[C], arguments: argparse.Namespace) -> C:
    """Return a client of the cluster that the arguments name."""
    policy = Policy(
        deadline=arguments.timeout,
        first_contact=min(FIRST_CONTACT_SECONDS, arguments.timeout),
        any_worker=arguments.any_worker,
    )
    return kind(
        arguments.overseer,
        arguments.server,
        policy=policy,
        token_file=arguments.token_file,
        cacert=arguments.tls_ca,
        cert=arguments.tls_cert,
        key=arguments.tls_key,
    )


def _value(argument: str) -> bytes:
    if argument == "-":
        return places.standard_input().read()
    if argument.startswith("@"):
        return Path(argument[1:]).read_bytes()
    return os.fsencode(argument)


def report(arguments: argparse.Namespace, document: dict[str, object], words: str) -> None:
    """Print what was done, in words or as JSON."""
    if arguments.json:
        print_json(document)
    else:
        print(plain(words))


def print_json(document: Any) -> None:
    """Print a document in one line."""
    print(plain_json(msgspec.json.encode(document).decode()), flush=True)
