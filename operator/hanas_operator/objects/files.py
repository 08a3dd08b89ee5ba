"""The Secrets that pods see as files, and the variables that name them. Processes read changed ones again."""

from msgspec import Struct

from hanas_operator import names
from hanas_operator.objects import secret
from hanas_operator.objects.owner import Manifest, Owner
from hanas_operator.spec import EncryptionSpec, RightsKey, SecretKey
from hanas_operator.tls import secrets

_ROOT = "/etc/hanas"


class Mounted(Struct, frozen=True):
    """One Secret. ``key``: the only one of its keys that is mounted; empty: all are."""

    name: str
    secret: str
    variables: dict[str, str]
    key: str = ""

    @property
    def mount(self) -> Manifest:
        """Where a container sees it."""
        return {"name": self.name, "mountPath": f"{_ROOT}/{self.name}", "readOnly": True}

    @property
    def volume(self) -> Manifest:
        """The volume of the pod."""
        content: Manifest = {"secretName": self.secret, "defaultMode": 0o440}
        if self.key:
            content["items"] = [{"key": self.key, "path": self.key}]
        return {"name": self.name, "secret": content}


def of(owner: Owner, component: str) -> list[Mounted]:
    """Return the Secrets of the pods of a component; the first one is that of the components."""
    spec = owner.spec
    own = names.of(owner.name, names.SECRET)
    mounted = [Mounted("secret", own, {"HANAS_SECRET_FILE": f"{_ROOT}/secret/{secret.KEY}"})]
    tokens, rights = spec.client_token_secret, spec.client_rights_secret
    if isinstance(tokens, SecretKey):
        mounted.append(_one("tokens", tokens.name, "HANAS_CLIENT_TOKEN_FILE", tokens.key))
    if isinstance(rights, RightsKey):
        mounted.append(_one("rights", rights.name, "HANAS_CLIENTS_FILE", rights.key))
    if owner.tls_secret:
        variables = {
            "HANAS_TLS_CERT": secrets.CERTIFICATE,
            "HANAS_TLS_KEY": secrets.KEY,
            "HANAS_TLS_CA": secrets.TRUST,
            "HANAS_TLS_CLIENT_CA": secrets.TRUST,
        }
        paths = {name: f"{_ROOT}/tls/{key}" for name, key in variables.items()}
        mounted.append(Mounted("tls", owner.tls_secret, paths))
    return [*mounted, *(encryption(owner) if component == names.WORKER else [])]


def encryption(owner: Owner) -> list[Mounted]:
    """Return the Secret with the keys of the volume, for those who read it; none without encryption."""
    keys = owner.spec.encryption
    if not isinstance(keys, EncryptionSpec):
        return []
    return [_one("encryption", keys.secret_name, "HANAS_ENCRYPTION_KEY_FILE", keys.key)]


def _one(name: str, secret: str, variable: str, key: str) -> Mounted:
    return Mounted(name, secret, {variable: f"{_ROOT}/{name}/{key}"}, key)
