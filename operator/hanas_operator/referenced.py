"""The Secrets of the user that a HANas names: whether they are there."""

from collections.abc import Iterator

from msgspec import Struct

from hanas_operator import kinds, obstacles
from hanas_operator.api import Api, ApiError
from hanas_operator.objects.owner import Owner
from hanas_operator.obstacles import Obstacle
from hanas_operator.spec import EncryptionSpec, RightsKey, SecretKey
from hanas_operator.status import Reason


class _Reference(Struct, frozen=True):
    secret: str
    key: str
    what: str
    advice: str
    reason: Reason


async def missing(api: Api, owner: Owner) -> list[Obstacle]:
    """Return what is missing. Raises ApiError if the API server cannot be reached."""
    problems: list[Obstacle] = []
    for each in _references(owner):
        try:
            actual = await api.get(kinds.SECRET, owner.namespace, each.secret)
        except ApiError as error:
            problems.append(obstacles.of(error, f"reading {each.what}"))
            continue
        if actual is not None and each.key in (actual.get("data") or {}):
            continue
        words = f"there is no Secret {each.secret}"
        if actual is not None:
            words = f"the Secret {each.secret} has no key {each.key}"
        problems.append(Obstacle(each.reason, f"{words}: {each.advice}"))
    return problems


def _references(owner: Owner) -> Iterator[_Reference]:
    spec = owner.spec
    tokens, rights, keys = spec.client_token_secret, spec.client_rights_secret, spec.encryption
    if isinstance(tokens, SecretKey):
        advice = "clientTokenSecret names it; make it, with one token a line"
        yield _Reference(tokens.name, tokens.key, "the tokens of clients", advice, Reason.TOKENS_MISSING)
    if isinstance(rights, RightsKey):
        advice = "clientRightsSecret names it; make it, with a file of clients as docs/security.md says"
        yield _Reference(rights.name, rights.key, "the rights of clients", advice, Reason.RIGHTS_MISSING)
    if isinstance(keys, EncryptionSpec):
        advice = "encryption names it; make it, with the file that hanas encryption-key new wrote"
        yield _Reference(keys.secret_name, keys.key, "the keys of the volume", advice, Reason.KEYS_MISSING)
