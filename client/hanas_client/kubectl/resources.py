"""HANas resources as this command uses them: which one is meant, and the way to its overseers."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from hanas_client.errors import HanasError
from hanas_client.kubectl.tool import Kubectl, Resource
from hanas_client.settings import Policy
from hanas_client.sync import Client
from hanas_serving.tls_files import CA

GROUP = "hanas.dev"
API_VERSION = f"{GROUP}/v1alpha1"
HANAS = f"hanases.{GROUP}"
_OVERSEER_PORT = 4000
_DEADLINE_SECONDS = 10.0
_TLS_FILES = ("ca.crt", "tls.crt", "tls.key")
"""Keys of a Secret with a certificate: authorities, certificate, private key."""


def kubectl(arguments: Namespace) -> Kubectl:
    """Return the kubectl for the cluster that the arguments name."""
    given = {name: getattr(arguments, name) for name in ("kubeconfig", "context", "namespace")}
    return Kubectl([f"--{name}={value}" for name, value in given.items() if value is not None])


def chosen(tool: Kubectl, name: str | None) -> Resource:
    """Return the HANas of this name; without one, the only HANas of the namespace."""
    if name is not None:
        return tool.get(HANAS, name)
    found = tool.list(HANAS)
    if len(found) == 1:
        return found[0]
    if not found:
        raise HanasError("there is no HANas in this namespace; name another one with --namespace")
    names = ", ".join(sorted(name_of(one) for one in found))
    raise HanasError(f"there are several in this namespace; name one with --cluster: {names}")


def name_of(resource: Resource) -> str:
    """Return the name of an object."""
    return str(resource["metadata"]["name"])


@contextlib.contextmanager
def overseer(tool: Kubectl, hanas: Resource, arguments: Namespace) -> Iterator[Client]:
    """Yield a client of an overseer of ``hanas``, through a forwarded port, which no NetworkPolicy keeps out.

    Over TLS it shows the certificate of the pods, unless others are named as for `hanas`. That of the overseer must
    have the name ``localhost``.
    """
    token = None if arguments.token_file else _token(tool, hanas)
    with contextlib.ExitStack() as opened:
        trust, certificate, key = opened.enter_context(_tls(tool, hanas, arguments))
        port = opened.enter_context(tool.forward(f"service/{name_of(hanas)}-overseer", _OVERSEER_PORT))
        policy = Policy(deadline=_DEADLINE_SECONDS)
        with Client(
            f"localhost:{port}",
            (),
            policy=policy,
            token_file=arguments.token_file,
            token=token,
            cacert=trust,
            cert=certificate,
            key=key,
        ) as client:
            yield client


@contextlib.contextmanager
def _tls(tool: Kubectl, hanas: Resource, arguments: Namespace) -> Iterator[tuple[str | None, str | None, str | None]]:
    """Yield the files with authorities, certificate and key to call with."""
    given = arguments.tls_ca, arguments.tls_cert, arguments.tls_key
    spec = hanas.get("spec", {}).get("tls")
    if spec is None or any(given) or os.environ.get(CA):
        yield given
        return
    name = spec.get("secretName") or f"{name_of(hanas)}-tls"
    try:
        data = tool.get("secret", name).get("data", {})
        contents = [base64.b64decode(data[file]) for file in _TLS_FILES]
    except (HanasError, KeyError, binascii.Error) as error:
        words = f"no {error.args[0]}" if isinstance(error, KeyError) else error
        advice = "name your own with --cacert, --cert and --key"
        raise HanasError(f"no certificate from the Secret {name}: {words}; {advice}") from None
    with tempfile.TemporaryDirectory(prefix="hanas-") as directory:  # only its owner sees what is in it
        trust, certificate, key = paths = [Path(directory) / file for file in _TLS_FILES]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        yield str(trust), str(certificate), str(key)


def _token(tool: Kubectl, hanas: Resource) -> str | None:
    """Return a token of clients, None if they need none."""
    reference = hanas.get("spec", {}).get("clientTokenSecret")
    if reference is None:
        return None
    name, key = reference["name"], reference["key"]
    try:
        content = tool.get("secret", name).get("data", {}).get(key, "")
        tokens = base64.b64decode(content).decode("ascii").split()
    except (HanasError, binascii.Error, UnicodeDecodeError) as error:
        raise HanasError(f"no token of clients from the Secret {name}: {error}; give one with --token-file") from None
    if not tokens:
        raise HanasError(f"the Secret {name} has no token in {key}; give one with --token-file")
    return tokens[0]
