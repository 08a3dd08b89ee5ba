"""`hanas client-token new NAME`: a random token, and the lines with its hash for the file of clients."""

from __future__ import annotations

import argparse
import hashlib
import re
import secrets

from hanas_client import commands
from hanas_client.errors import HanasError

_RANDOM_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("what", metavar="new", choices=("new",), help="make a token; nothing keeps it but you")
    parser.add_argument("name", metavar="NAME", help="the principal that it is for")


def run(arguments: argparse.Namespace) -> None:
    """Print a token and what to write into the file of clients."""
    name = arguments.name
    if _NAME.fullmatch(name) is None:
        raise HanasError(f"{name!r} is no name: 1 to 64 letters, digits, '.', '_', '@' or '-', a letter or digit first")
    token = secrets.token_urlsafe(_RANDOM_BYTES)
    digest = hashlib.sha256(token.encode()).hexdigest()
    words = (
        f"token: {token}\n"
        "It is shown once. For the file that HANAS_CLIENTS_FILE names, below `principals`:\n"
        f'- name: {name}\n  tokens: ["{digest}"]\n  grants:\n  - {{prefix: "{name}/", roles: [writer]}}'
    )
    if arguments.json:
        commands.report(arguments, {"name": name, "token": token, "sha256": digest}, "")
    else:
        print(words)
