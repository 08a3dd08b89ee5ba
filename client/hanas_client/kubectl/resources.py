"""HANas resources as this command uses them: which one is meant, and the way to its overseers."""

from __future__ import annotations

import base64
import binascii
import contextlib
from argparse import Namespace
from collections.abc import Iterator

from hanas_client.errors import HanasError
from hanas_client.kubectl.tool import Kubectl, Resource
from hanas_client.settings import Policy
from hanas_client.sync import Client

GROUP = "hanas.dev"
API_VERSION = f"{GROUP}/v1alpha1"
HANAS = f"hanases.{GROUP}"
_OVERSEER_PORT = 4000
_DEADLINE_SECONDS = 10.0


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

    Over TLS, with the same settings as `hanas`, its certificate must have the name ``localhost``.
    """
    token = None if arguments.token_file else _token(tool, hanas)
    with tool.forward(f"service/{name_of(hanas)}-overseer", _OVERSEER_PORT) as port:
        policy = Policy(deadline=_DEADLINE_SECONDS)
        with Client(
            f"localhost:{port}",
            (),
            policy=policy,
            token_file=arguments.token_file,
            token=token,
            cacert=arguments.tls_ca,
            cert=arguments.tls_cert,
            key=arguments.tls_key,
        ) as client:
            yield client


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
