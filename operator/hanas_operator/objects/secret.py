"""The secret with which the components of one cluster authenticate each other."""

import base64
import secrets

from hanas_operator import kinds, names
from hanas_operator.objects.owner import Manifest, Owner, manifest

KEY = "secret"
_BYTES = 32


def components(owner: Owner) -> Manifest:
    """Return a new Secret with random content. It is created once; an existing one is never changed."""
    content = base64.b64encode(secrets.token_urlsafe(_BYTES).encode()).decode()
    name, data = names.of(owner.name, names.SECRET), {KEY: content}
    result = manifest(owner, kinds.SECRET, name, type="Opaque", immutable=True, data=data)
    del result["metadata"]["annotations"]
    return result
