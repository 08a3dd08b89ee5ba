"""What schemathesis cannot know: facts of the cluster, and the few requests that would rightly change it.

Loaded by schemathesis in its own process (tests/fuzz/schemathesis.toml); `tests.fuzz.played` hands over the facts.
"""

import os
import re
import zlib
from typing import Any
from urllib.parse import urlsplit

import msgspec
import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import RejectedPositiveData

from tests.fuzz.facts import FACTS_VARIABLE, STRANGERS, Acknowledged, Facts, is_kept

_ETAGS = re.compile(r'(\*|(W/)?"[^",]*")( *, *(\*|(W/)?"[^",]*"))*')
FACTS = msgspec.json.decode(os.environ[FACTS_VARIABLE], type=Facts)


@schemathesis.hook
def filter_path_parameters(context: HookContext, path_parameters: dict[str, Any] | None) -> bool:
    """Leave the keys alone whose values are compared at the end."""
    del context
    return not is_kept(str((path_parameters or {}).get("key", "")))


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Let requests come further than to the check of the folder's id."""
    del context, kwargs
    if case.path == "/v1/txn":
        case.body = _apart(case.body)
    if isinstance(case.body, dict) and isinstance(case.body.get("folderId"), str):
        case.body = _at_home(case.path, case.body)


def _apart(content: Any) -> Any:
    """Leave the keys alone whose values are compared at the end: transactions have some of their own."""
    if isinstance(content, list):
        return [_apart(each) for each in content]
    if not isinstance(content, dict):
        return content
    return {
        name: f"txn/{each}" if name in {"key", "prefix"} and isinstance(each, str) else _apart(each)
        for name, each in content.items()
    }


def _at_home(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Give three bodies in four the folder's own id, and half of those more of what is true."""
    dice = zlib.crc32(msgspec.json.encode(body, enc_hook=repr))
    changes: dict[str, Any] = {"folderId": FACTS.folder_id} if dice % 4 else {}
    if path == "/v1/claim":
        # A slot is given for ever, and there are 256: few strangers arrive, though often.
        changes |= {"member": STRANGERS[dice % len(STRANGERS)]} if isinstance(body.get("member"), str) else {}
    elif path == "/v1/takeover":
        changes |= _nearly_right(body, dice)
    elif dice % 8 > 4:
        changes |= {"member": FACTS.main}
        if isinstance(logs := body.get("logs"), list):
            changes["logs"] = [{**news, "epoch": FACTS.epoch} if isinstance(news, dict) else news for news in logs]
        changes |= {"incarnation": FACTS.incarnation} if dice % 16 > 8 else {}
    return {**body, **{name: value for name, value in changes.items() if name in body}}


def _nearly_right(body: dict[str, Any], dice: int) -> dict[str, Any]:
    """Challenge in the name of a member the right epoch of another main, or another epoch of the right one.

    With both it would be a request that is granted by the rules: whoever has the secret is believed its verdict.
    """
    expected = body.get("expected")
    if not isinstance(expected, dict):
        return {}
    if dice % 2:
        wrong = {**expected, "epoch": FACTS.epoch}
        if wrong.get("main") == FACTS.main:
            wrong["main"] = "nobody"
    else:
        wrong = {**expected, "main": FACTS.main}
        if wrong.get("epoch") == FACTS.epoch:
            wrong["epoch"] = FACTS.epoch + 1
    return {"member": FACTS.members[dice % len(FACTS.members)], "expected": wrong}


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Drop what is said of `If-Match: 0`, which schemathesis takes for sound in some edge cases against the pattern.

    So is 1.0 where a schema asks for an integer; the programs take it for no integer.
    """
    del context, response
    given = [str(value) for name, value in (case.headers or {}).items() if name in {"If-Match", "If-None-Match"}]
    odd = any(_ETAGS.fullmatch(value) is None for value in given) or _has_whole_float(case.body)
    return not (isinstance(failure, RejectedPositiveData) and odd)


def _has_whole_float(content: Any) -> bool:
    match content:
        case float():
            return content.is_integer()
        case list():
            return any(map(_has_whole_float, content))
        case dict():
            return any(map(_has_whole_float, content.values()))
        case _:
            return False


@schemathesis.hook
def after_call(context: HookContext, case: Case[Any], response: Response) -> None:
    """Note what was acknowledged, in order."""
    del context
    if case.method.upper() in {"PUT", "DELETE"} and response.status_code in {201, 204}:
        etag = response.headers.get("etag", [None])[0]
        path = urlsplit(str(response.request.url)).path
        if path.startswith("/v1/kv/"):
            with open(FACTS.journal, "ab") as journal:
                journal.write(msgspec.json.encode(Acknowledged(path, etag)) + b"\n")
