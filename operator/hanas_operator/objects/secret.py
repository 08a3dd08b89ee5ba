"""The secret with which the components of one cluster authenticate each other."""

import base64
from collections.abc import Iterable

from hanas_operator import kinds, names
from hanas_operator.api import Resource
from hanas_operator.objects.owner import Manifest, Owner, manifest

KEY = "secret"
BYTES = 32
"""Of entropy in each."""


def components(owner: Owner, lines: Iterable[str], mark: str) -> Manifest:
    """Return the Secret: the processes send the first of ``lines``, and accept all. ``mark``: see Content.

    It is not immutable: pods that run see a change of it.
    """
    content = base64.b64encode("\n".join(lines).encode()).decode()
    name, data = names.of(owner.name, names.SECRET), {KEY: content}
    result = manifest(owner, kinds.SECRET, name, type="Opaque", data=data)
    result["metadata"]["annotations"] = {names.ROTATION: mark} if mark else {}
    return result


def lines(actual: Resource) -> tuple[str, ...]:
    """Return the secrets in a Secret, as the processes read them; none if there are none."""
    try:
        content = base64.b64decode((actual.get("data") or {}).get(KEY, "")).decode()
    except ValueError:
        return ()
    return tuple(line.strip() for line in content.splitlines() if line.strip())
