"""``POST /v1/switchover``: the main hands over to a backup that somebody names (docs/protocol.md, section 2.6).

It is for those who hold the secret of the components, or have the right `admin`. (Where clients need a token, there is
a secret.) Where there is none, a client that reaches the port from elsewhere may not change the main.
"""

import msgspec
from starlette.requests import Request

from hanas_core.members.documents import LOG
from hanas_core.volume.blocks import UNREADABLE
from hanas_serving.answers import Disconnected, body_of
from hanas_serving.audit import Administered
from hanas_serving.callers import Callers
from hanas_serving.fields import require_json, require_no_query
from hanas_serving.gate import Gate, caller_of
from hanas_serving.hosts import is_loopback
from hanas_serving.principals import Action, Principal, Standing
from hanas_serving.problems import Problem
from hanas_worker.faces.http.answers import TRY_AGAIN
from hanas_worker.log.succession import NotMain, NotReady, NotSwitched, UnknownMember
from hanas_worker.node import Node

ACCEPTED = 202
_MOST_BYTES = 1024
_WITHOUT_A_SECRET = "where no secret of the components is set, a switchover can be asked for on the main's machine only"


class Switchover(msgspec.Struct, frozen=True):
    """Body of ``POST /v1/switchover``."""

    to: str
    """The member that shall be the main."""


class HandedOver(msgspec.Struct, frozen=True):
    """The answer: the main has handed over, and that member takes over now."""

    epoch: int
    """The epoch that ended."""
    to: str


def admit(request: Request, callers: Callers, gate: Gate) -> Principal:
    """Return who asks, if that is one who may: without a secret, whoever is on this machine. Raises Problem."""
    caller = caller_of(request.scope)
    principal = gate.admit(caller, callers, Action.ADMIN, _secret_needed)
    if principal.standing is Standing.STRANGER and not is_loopback(caller.address):
        raise Problem(403, f"{_WITHOUT_A_SECRET}; ask there, or set HANAS_SECRET_FILE everywhere")
    require_no_query(request.scope["query_string"])
    require_json(request.scope["headers"])
    return principal


async def switch_over(request: Request, node: Node, administered: Administered) -> HandedOver:
    """Carry out a request that was admitted; tell ``administered`` about it. Raises Problem."""
    driver = node.logs[LOG]
    if driver.serving is None:
        raise _elsewhere(driver.main_url)
    wanted = await _read(request)
    administered.about, administered.status = wanted.to, ACCEPTED
    try:
        return HandedOver(await driver.switch_over(wanted.to), wanted.to)
    except NotSwitched as refusal:
        raise _problem(refusal, driver.main_url) from None


async def _read(request: Request) -> Switchover:
    try:
        too_large = Problem(413, f"the body may have at most {_MOST_BYTES} bytes")
        return msgspec.json.decode(await body_of(request.receive, _MOST_BYTES, lambda _: too_large), type=Switchover)
    except Disconnected:
        raise Problem(400, "the body is incomplete; nothing was done; send the whole body") from None
    except UNREADABLE as error:
        raise Problem(400, f'{error}; send {{"to": MEMBER}}') from None


def _problem(refusal: NotSwitched, main_url: str | None) -> Problem:
    match refusal:
        case NotMain():
            return _elsewhere(main_url)
        case UnknownMember():
            return Problem(404, str(refusal))
        case NotReady():
            return Problem(409, str(refusal))
        case _:
            return Problem(503, f"{refusal}; try again", TRY_AGAIN)


def _elsewhere(main_url: str | None) -> Problem:
    if main_url is None:
        return Problem(503, "there is no main just now; a takeover takes less than a second: try again", TRY_AGAIN)
    return Problem(307, "the main is elsewhere", {"location": f"{main_url}/v1/switchover"})


def _secret_needed(_: bytes | None) -> Problem:
    detail = "a switchover needs the secret of the components: send 'Authorization: Bearer …' with a token of "
    return Problem(401, f"{detail}HANAS_SECRET_FILE", {"www-authenticate": "Bearer"})
