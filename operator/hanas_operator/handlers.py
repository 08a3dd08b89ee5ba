"""The resources that kopf watches: HANas resources, what is about them, and their objects.

Each change only requests a reconcile. The handlers store nothing in the resources: no finalizers, no annotations, no
progress.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import kopf
from kubernetes.aio.client import Configuration

from hanas_operator import connection, kinds, names, waits
from hanas_operator.backups import controller
from hanas_operator.queue import Key

_SERVER_TIMEOUT_SECONDS = 300  # the API server takes whole seconds only
_TOGETHER_SECONDS = 0.2
"""Changes of objects come in bursts; one reconcile serves those that arrive within this time."""
Add = Callable[[Key, float], None]
"""Requests a reconcile in so many seconds."""


def registry(add: Add, configuration: Configuration) -> kopf.OperatorRegistry:
    """Return the handlers, which call ``add``."""
    handlers = kopf.OperatorRegistry()

    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await connection.credentials(configuration)

    async def changed(namespace: str | None, name: str | None, **_: Any) -> None:
        add((namespace or "", name or ""), 0.0)

    async def failure_changed(namespace: str | None, spec: kopf.Spec, **_: Any) -> None:
        add((namespace or "", spec["hanas"]), 0.0)

    def changed_backup(kind: kinds.ResourceKind) -> Callable[..., Awaitable[None]]:
        async def backup_changed(namespace: str | None, name: str | None, **_: Any) -> None:
            add(controller.key_of(kind, namespace or "", name or ""), 0.0)

        return backup_changed

    async def child_changed(namespace: str | None, labels: kopf.Labels, **_: Any) -> None:
        add((namespace or "", labels[names.CLUSTER]), _TOGETHER_SECONDS)

    kopf.on.login(registry=handlers, id="login")(login)
    for kind, act in ((kinds.HANAS, changed), (kinds.LINK_FAILURE, failure_changed)):
        kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=handlers)(act)
    for kind in (kinds.BACKUP, kinds.SCHEDULED_BACKUP):
        kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=handlers)(changed_backup(kind))
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
    result.networking.error_backoffs = waits.API
    result.process.ultimate_exiting_timeout = None  # it would kill the whole process
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
        handler.addFilter(_plainly)


def _plainly(record: logging.LogRecord) -> bool:
    if record.name.startswith("kopf"):
        record.exc_info = record.exc_text = None
        return not record.getMessage().startswith("OS signals are ignored")  # they are ours
    return True
