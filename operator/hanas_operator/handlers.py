"""The resources that kopf watches: HANas resources and their objects. Each change only requests a reconcile.

The handlers store nothing in the resources: no finalizers, no annotations, no progress.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import kopf
from kubernetes.aio.client import Configuration

from hanas_operator import connection, kinds, names
from hanas_operator.queue import Queue

_SERVER_TIMEOUT_SECONDS = 300  # the API server takes whole seconds only
_TOGETHER_SECONDS = 0.2
"""Changes of objects come in bursts; one reconcile serves those that arrive within this time."""


def registry(queue: Queue, configuration: Configuration, stop: Callable[..., Awaitable[None]]) -> kopf.OperatorRegistry:
    """Return the handlers, which add to ``queue``. kopf calls ``stop`` at its end and waits for it."""
    handlers = kopf.OperatorRegistry()

    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await connection.credentials(configuration)

    async def changed(namespace: str | None, name: str | None, **_: Any) -> None:
        queue.add((namespace or "", name or ""))

    async def child_changed(namespace: str | None, labels: kopf.Labels, **_: Any) -> None:
        queue.add((namespace or "", labels[names.CLUSTER]), _TOGETHER_SECONDS)

    kopf.on.cleanup(registry=handlers, id="cleanup")(stop)
    kopf.on.login(registry=handlers, id="login")(login)
    kind = kinds.HANAS
    kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=handlers)(changed)
    for kind in kinds.WATCHED:
        kopf.on.event(
            kind.group,
            kind.version,
            kind.plural,
            labels={names.MANAGED_BY: names.MANAGER, names.CLUSTER: kopf.PRESENT},
            id=f"child/{kind.plural}",
            registry=handlers,
        )(child_changed)
    return handlers


def settings() -> kopf.OperatorSettings:
    """Return kopf's settings: it watches the operator's objects only, and posts and scans nothing."""
    result = kopf.OperatorSettings()
    result.posting.enabled = False
    result.scanning.disabled = True
    result.watching.server_timeout = _SERVER_TIMEOUT_SECONDS
    for kind in kinds.WATCHED:
        result.watching.label_selectors[kind.group, kind.version, kind.plural] = names.SELECT_MANAGED
    return result


def quieten() -> None:
    """Reduce kopf's log to one line for each error, unless HANAS_LOG_LEVEL=DEBUG."""
    logger = logging.getLogger("kopf")
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        return
    logger.setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    if record.name.startswith("kopf"):
        record.exc_info = record.exc_text = None
    return True
