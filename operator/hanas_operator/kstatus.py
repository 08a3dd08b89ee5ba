"""The conditions by which deployment tools judge any resource (kstatus, of kpt, Flux and others): pure functions.

They look at ``status.observedGeneration``, then at these two, then at ``Ready``. ``Stalled`` ends their wait with an
error, so what may still come by itself, such as a Secret that is applied a moment later, is ``Reconciling``.
"""

from collections.abc import Iterable

from hanas_operator.obstacles import Obstacle
from hanas_operator.status import Finding, Reason
from hanas_operator.storage import StorageFinding

_LASTING = {Reason.CLAIM_IN_USE, Reason.INVALID_SPEC, Reason.NAME_TAKEN, Reason.NO_IMAGE, Reason.REJECTED}
_LASTING_OF_STORAGE = {"ClaimNotShared", "ClaimLost", "ForeignFolder", "FolderRefused"}


def stalled(problems: Iterable[Obstacle], storage: StorageFinding) -> Finding:
    """Return whether the operator can do nothing more until a person changes something."""
    for problem in problems:
        if problem.reason in _LASTING:
            return "True", problem.reason, problem.message
    if storage.status == "False" and storage.reason in _LASTING_OF_STORAGE:
        return "True", storage.reason, storage.message
    return "False", "NotStalled", "nothing waits for a person"


def reconciling(updated: Finding, stalled: Finding, *, complete: bool) -> Finding:
    """Return whether the change of this generation is being made. ``complete``: whether it once was."""
    status, reason, message = updated
    if stalled[0] == "True":
        return "False", stalled[1], "the operator waits for a person"
    if status == "False" or (status == "Unknown" and not complete):
        return "True", reason, message
    return "False", reason, message
