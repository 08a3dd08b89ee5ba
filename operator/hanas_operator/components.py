"""The secret of the components: made once, never replaced by another one unasked, and changed in steps.

Processes that have different secrets refuse each other. So one that was deleted is made again as it was, as long as
this operator remembers it; else a person must decide. And one that is to be changed has two lines for a while: first
every process accepts both, then every one sends the new one, then the old one goes. Each of the first two steps is done
when all pods were made anew with it; its mark is an annotation of their templates.
"""

import hashlib
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from hanas_operator import children, kinds, names, progress, report
from hanas_operator.api import Api, Resource
from hanas_operator.children import Children
from hanas_operator.objects import secret
from hanas_operator.objects.owner import Owner
from hanas_operator.obstacles import Obstacle
from hanas_operator.queue import Key
from hanas_operator.recorder import Happening, Recorder
from hanas_operator.status import Reason, SecretStage, SecretStatus

_ACCEPT, _USE = "accept", "use"


class Content(NamedTuple):
    """What a Secret holds."""

    lines: tuple[str, ...]
    mark: str
    """The rotation that it is of, and its step; empty before the first one."""

    @property
    def status(self) -> SecretStatus:
        """Return what the status tells of it."""
        rotation, _, step = self.mark.rpartition("/")
        stage = SecretStage.DONE
        if len(self.lines) > 1:
            stage = SecretStage.BOTH_ACCEPTED if step == _ACCEPT else SecretStage.NEW_IN_USE
        digest = hashlib.sha256("\n".join(self.lines).encode()).hexdigest()[:16]
        return SecretStatus(hash=digest, rotation=rotation, stage=stage)


def mark_of(status: SecretStatus) -> str:
    """Return the mark for the templates of pods."""
    step = _ACCEPT if status.stage is SecretStage.BOTH_ACCEPTED else _USE
    return f"{status.rotation}/{step}" if status.rotation else ""


def next_step(present: Content, requested: str, *, done: bool) -> Content | None:
    """Return what the Secret must hold next, None if nothing changes. ``done``: all pods were made with its mark."""
    rotation, _, step = present.mark.rpartition("/")
    match present.lines, step:
        case [old], _ if requested not in {"", rotation}:
            return Content((old, secrets.token_urlsafe(secret.BYTES)), f"{requested}/{_ACCEPT}")
        case [old, new], "accept" if done:
            return Content((new, old), f"{rotation}/{_USE}")
        case [new, _], "use" if done:
            return Content((new,), present.mark)
    return None


class Components:
    """Keeps the secret of each cluster."""

    def __init__(self, api: Api, recorder: Recorder) -> None:
        """Know none yet."""
        self._api = api
        self._recorder = recorder
        self._known: dict[Key, Content] = {}

    def forget(self, key: Key) -> None:
        """Forget a deleted cluster."""
        self._known.pop(key, None)

    async def keep(
        self, hanas: Resource, owner: Owner, existing: Children, before: SecretStatus
    ) -> tuple[SecretStatus, list[Obstacle]]:
        """Make the Secret, or go on with its rotation. Return what the status tells of it. Raises ApiError."""
        key, name = (owner.namespace, owner.name), names.of(owner.name, names.SECRET)
        requested = hanas["metadata"].get("annotations", {}).get(names.ROTATE, "")
        workloads = report.workloads(owner, existing)
        actual = await self._api.get(kinds.SECRET, owner.namespace, name)
        if actual is None:
            content = self._again(key, before, requested, running=any(workloads))
            if content is None:
                return before, [_missing(name, owner.name)]
            if content == self._known.get(key):
                await self._recorder.tell(hanas, _restored(name, content))
            await self._api.create(kinds.SECRET, secret.components(owner, content.lines, content.mark))
        else:
            content = _content(actual)
            if not children.is_own(owner, actual) or not content.lines:
                return before, [_taken(name)]
            done = _is_done(owner, content.mark, workloads)
            if (change := next_step(content, requested, done=done)) is not None:
                if actual.get("immutable"):
                    return content.status, [_immutable(name, owner.name)]
                meta = {field: actual["metadata"][field] for field in ("uid", "resourceVersion")}
                patch = secret.components(owner, change.lines, change.mark)
                annotations = patch["metadata"]["annotations"]
                body = {"metadata": {**meta, "annotations": annotations}, "data": patch["data"]}
                await self._api.merge(kinds.SECRET, owner.namespace, name, body)
                content = change
        self._known[key] = content
        return content.status, []

    def _again(self, key: Key, before: SecretStatus, requested: str, *, running: bool) -> Content | None:
        """Return what to make where there is no Secret, None if pods run with one that nobody knows."""
        if (known := self._known.get(key)) is not None and before.hash in {"", known.status.hash}:
            return known
        if not (before.hash or running):
            return Content((secrets.token_urlsafe(secret.BYTES),), "")
        if requested not in {"", before.rotation}:
            return Content((secrets.token_urlsafe(secret.BYTES),), f"{requested}/{_USE}")
        return None


def _content(actual: Resource) -> Content:
    annotations = actual["metadata"].get("annotations") or {}
    return Content(secret.lines(actual), annotations.get(names.ROTATION, ""))


def _is_done(owner: Owner, mark: str, workloads: Sequence[Resource | None]) -> bool:
    """Return whether all pods were made with this mark, and are as they should be."""
    made = [workload for workload in workloads if workload is not None]
    marks = {progress.annotations(workload).get(names.ROTATION) for workload in made}
    return len(made) == len(workloads) and marks == {mark} and not progress.waits(owner, *made)


def _restored(name: str, content: Content) -> Happening:
    note = f"the Secret {name} was deleted; it is made again as it was, so nothing changes for the pods"
    return Happening("SecretRestored", "Warning", "RestoreSecret", note, f"secret {content.status.hash}")


def _missing(name: str, cluster: str) -> Obstacle:
    message = (
        f"the Secret {name} is gone, and this operator does not know what was in it: pods that run go on, others "
        f"cannot start; create it again from a copy, or have another one made, with which all pods are restarted: "
        f"kubectl annotate hanas {cluster} --overwrite {names.ROTATE}=$(date +%s)"
    )
    return Obstacle(Reason.SECRET_MISSING, message)


def _taken(name: str) -> Obstacle:
    message = (
        f"the Secret {name} exists already and does not belong to this HANas, or is empty: it is left unchanged; "
        "delete it, and the operator makes another one"
    )
    return Obstacle(Reason.NAME_TAKEN, message)


def _immutable(name: str, cluster: str) -> Obstacle:
    message = (
        f"the Secret {name} is immutable, as an earlier version made it, and nodes keep a copy: it is not rotated; "
        f"first run kubectl delete secret {name}, which the operator makes again as it was, and then, once, "
        f"kubectl delete pod -l {names.CLUSTER}={cluster}, which interrupts service for some seconds"
    )
    return Obstacle("SecretImmutable", message)
