"""The secret with which the components of one cluster authenticate each other."""

import base64
import secrets

from hanas_operator import names
from hanas_operator.objects.owner import Manifest, Owner, manifest

KEY = "secret"
_BYTES = 32


def components(owner: Owner) -> Manifest:
    """Return a new Secret with random content. It is created once; an existing one is never changed."""
    content = base64.b64encode(secrets.token_urlsafe(_BYTES).encode()).decode()
    result = manifest(
        owner, "v1", "Secret", names.secret(owner.name), {"type": "Opaque", "immutable": True, "data": {KEY: content}}
    )
    del result["metadata"]["annotations"]
    return result
