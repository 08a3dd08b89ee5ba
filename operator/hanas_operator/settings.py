"""The settings of the operator, from its command line."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hanas_core import release

DEFAULT_PORT = 8080


@dataclass(frozen=True)
class OperatorSettings:
    """The configuration of an operator."""

    kubeconfig: str | None
    """A file; None: the service account of the pod, or the usual file outside of a cluster."""
    context: str | None
    namespaces: tuple[str, ...]
    """The namespaces to work in; empty: all of them."""
    image: str
    """The image of pods whose HANas names none; empty: each must name one."""
    proxied: bool | None
    """Reach overseers through the API server's proxy; None: only when running outside of the cluster."""
    lease: tuple[str, str] | None
    """Namespace and name of the Lease whose holder reconciles; None: there is no other operator."""
    port: int
    """The port of /healthz, /readyz and /metrics; 0: none."""


def read(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> OperatorSettings:
    """Return the settings. Ends the program with the usage when they are invalid."""
    parser = argparse.ArgumentParser(
        prog="hanas-operator",
        description="Makes the clusters that HANas resources describe, and keeps them as described.",
        epilog="In a pod it needs no arguments. HANAS_LOG_LEVEL sets how much it writes to its log.",
    )
    parser.add_argument("--kubeconfig", metavar="FILE", help="work from here, with the cluster and account of FILE")
    parser.add_argument("--context", help="the context in that file, instead of its current one")
    parser.add_argument(
        "-n",
        "--namespace",
        action="append",
        default=[],
        metavar="NAME",
        help="work in this namespace only; may be repeated. Without it: in all of them",
    )
    parser.add_argument(
        "--image",
        default=environment.get("HANAS_IMAGE", ""),
        help="image of workers and overseers whose HANas names none (HANAS_IMAGE)",
    )
    parser.add_argument(
        "--overseer-access",
        choices=("auto", "direct", "proxy"),
        default="auto",
        help="how to reach overseers: directly, or through the API server; auto: directly if in a pod",
    )
    parser.add_argument(
        "--lease",
        type=_lease,
        default=environment.get("HANAS_LEASE") or None,
        metavar="NAMESPACE/NAME",
        help="of several operators, the holder of this Lease reconciles, and all label the mains (HANAS_LEASE)",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=environment.get("PORT") or DEFAULT_PORT,
        help=f"where /healthz, /readyz and /metrics are; 0: nowhere (PORT, {DEFAULT_PORT})",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {release.installed()}")
    values = parser.parse_args(arguments)
    return OperatorSettings(
        kubeconfig=values.kubeconfig,
        context=values.context,
        namespaces=tuple(dict.fromkeys(values.namespace)),
        image=values.image,
        proxied={"auto": None, "direct": False, "proxy": True}[values.overseer_access],
        lease=values.lease,
        port=values.port,
    )


def _lease(text: str) -> tuple[str, str]:
    namespace, _, name = text.partition("/")
    if not (namespace and name) or "/" in name:
        raise argparse.ArgumentTypeError(f"{text!r} is no NAMESPACE/NAME")
    return namespace, name


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port number")
    return int(text)
