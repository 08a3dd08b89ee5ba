"""The secret that the components of one cluster recognise each other by."""

import base64
import secrets

from hanas_operator import names
from hanas_operator.objects.owner import Manifest, Owner, manifest

KEY = "secret"
_BYTES = 32


def components(owner: Owner) -> Manifest:
    """Return a new Secret with a random content. It is made once; an existing one is never written again."""
    content = base64.b64encode(secrets.token_urlsafe(_BYTES).encode()).decode()
    made = manifest(
        owner, "v1", "Secret", names.secret(owner.name), {"type": "Opaque", "immutable": True, "data": {KEY: content}}
    )
    del made["metadata"]["annotations"]
    return made
