"""Who may do what: the decision, and who is whom."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanas_serving import principals
from hanas_serving.callers import Callers
from hanas_serving.clients import Clients, decode
from hanas_serving.peer import Peer
from hanas_serving.principals import ON_KEYS, Action, Principal, Standing, may, parts
from hanas_serving.settings import Public

STATE = {Action.OBSERVE, Action.LOCATE}


def listed(grants: str) -> Clients:
    digest = hashlib.sha256(b"web-token").hexdigest()
    return decode(f"principals: [{{name: web, tokens: [{digest}], certificates: ['CN=web'], grants: [{grants}]}}]")


def rights(principal: Principal) -> set[Action]:
    return {action for action in Action if may(principal, action, b"any")}


def test_nothing_is_configured_and_everything_is_open() -> None:
    callers = Callers()
    assert callers.keys_are_open
    assert callers.metrics_are_open
    assert callers.identify(b"Bearer x") is callers.stranger
    assert rights(callers.stranger) == set(Action)


def test_a_secret_alone_closes_what_components_do() -> None:
    callers = Callers(["s"])
    assert callers.keys_are_open
    assert rights(callers.stranger) == ON_KEYS | STATE
    assert rights(callers.identify(b"Bearer s")) == set(Action)


def test_tokens_do_everything_but_what_components_do() -> None:
    callers = Callers(["s", "both"], ["t", "both"])
    assert rights(callers.stranger) == set()
    assert rights(callers.identify(b"Bearer t")) == ON_KEYS | STATE
    assert rights(callers.identify(b"Bearer s")) == STATE | {Action.OPERATE, Action.ADMIN}
    assert rights(callers.identify(b"Bearer both")) == set(Action)


@pytest.mark.parametrize(
    ("public", "state", "metrics"),
    [(Public.METRICS, set(), True), (Public.ALL, STATE, True), (Public.NONE, set(), False)],
)
def test_what_anyone_may_see(public: Public, state: set[Action], metrics: bool) -> None:
    callers = Callers(["s"], ["t"], None, public)
    assert (rights(callers.stranger), callers.metrics_are_open) == (state, metrics)
    assert Callers(["s"], public=public).metrics_are_open


def test_with_a_file_of_clients_nobody_may_do_what_it_does_not_grant() -> None:
    callers = Callers(["s"], (), listed("{prefix: a/, rights: [read]}"))
    assert not callers.keys_are_open
    assert rights(callers.stranger) == set()
    web = callers.identify(b"Bearer web-token")
    assert (web.name, web.standing, rights(web)) == ("web", Standing.LISTED, {Action.LOCATE})
    assert may(web, Action.READ, b"a/b")
    assert not may(web, Action.READ, b"a")
    assert not may(web, Action.WRITE, b"a/b")
    assert callers.identify(None, Peer("CN=web")) is web
    assert callers.identify(b"Bearer wrong", Peer("CN=web")) is web
    assert rights(callers.identify(None, Peer("CN=other"))) == rights(callers.stranger)
    assert callers.identify(b"Bearer s").standing is Standing.COMPONENT
    both = Callers(["s"], ["t"], listed("{rights: [observe]}"))
    assert rights(both.identify(b"Bearer t")) == ON_KEYS | STATE
    assert rights(both.identify(b"Bearer web-token")) == STATE


def test_who_is_known_no_more_is_forgotten_at_once() -> None:
    callers = Callers(["s"], ["t"])
    assert callers.identify(b"Bearer t").standing is Standing.BEARER
    callers.renew(["s"], ["u"], None)
    assert callers.identify(b"Bearer t").standing is Standing.STRANGER
    assert callers.generation == 2


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    callers = Callers(["s"], ["t"])
    for number in range(5000):
        header = b"Bearer" + b" " * (1 + number) + b"t"
        assert callers.identify(header).standing is Standing.BEARER
        assert callers.identify(b"Bearer %d" % number) is callers.stranger
    assert len(callers._remembered) <= 1024


TEXTS = st.text(st.sampled_from("ab/%ß"), max_size=4).map(str.encode)
GRANTS = st.lists(TEXTS, min_size=1, max_size=5)


@given(GRANTS, TEXTS, TEXTS)
def test_the_parts_of_a_list_are_what_may_be_listed(grants: list[bytes], prefix: bytes, key: bytes) -> None:
    below = principals.disjoint(grants)
    principal = Principal("p", Standing.LISTED, frozenset(), {Action.LIST: below})
    assert may(principal, Action.LIST, key) == any(key.startswith(granted) for granted in grants)
    assert list(below) == sorted(below)
    shown = parts(principal, Action.LIST, prefix)
    assert sum(key.startswith(part) for part in shown) == (key.startswith(prefix) and may(principal, Action.LIST, key))
    assert parts(principal, Action.READ, prefix) == ()
    assert principals.may_somewhere(principal, Action.LIST)
    assert not principals.may_somewhere(principal, Action.READ)
