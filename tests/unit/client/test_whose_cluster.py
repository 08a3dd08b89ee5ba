"""No request ends in another cluster, and no token with a stranger."""

import msgspec
import pytest

from hanas_client.calls import Reply
from hanas_client.errors import Unavailable
from hanas_client.plan import Send
from hanas_client.routes import Routes
from hanas_client.settings import Policy
from tests.unit.client.test_plan import CREATED, OVERSEER, PROBLEM, REFUSED, W1, W2, Answer, Cluster, Server, always, to

OURS, THEIRS = "a" * 32, "b" * 32
SHORT = Policy(deadline=0.5)


def of(folder: str, answer: Reply = CREATED) -> Server:
    """A worker of the cluster with this folder."""

    def server(step: Send) -> Answer:
        named = {"hanas-folder": folder}
        if step.headers.get("hanas-folder", folder) != folder:
            return Reply(421, PROBLEM | named, msgspec.json.encode({"detail": "this is another cluster"}))
        return Reply(answer.status, {**answer.headers, **named})

    return server


def overseer(main: str | None, *members: str, state: str = "serving", heard: bool = True) -> Server:
    def server(step: Send) -> Answer:
        if step.url.endswith("/v1/pool"):
            pool = [{"member": base, "advertiseUrl": base, "heard": heard} for base in members]
            return Reply(200, {"hanas-folder": OURS}, msgspec.json.encode({"members": pool}))
        document = {"epoch": 3, "main": main and {"member": "m", "advertiseUrl": main, "state": state}}
        return Reply(200, {"hanas-folder": OURS}, msgspec.json.encode(document))

    return server


def test_a_main_whose_port_another_cluster_took_is_not_written_to() -> None:
    cluster = Cluster(overseer_4000=overseer(W1, W1), w1_3001=of(THEIRS))
    with pytest.raises(Unavailable, match="another cluster") as error:
        cluster.put(Routes((OVERSEER,), ()), SHORT)
    assert not error.value.outcome_unknown
    assert {step.headers.get("hanas-folder") for step in cluster.sent if step.method == "PUT"} == {OURS}


def test_after_another_cluster_the_own_one_is_looked_for() -> None:
    cluster = Cluster(overseer_4000=overseer(W1, W1, W2), w1_3001=of(THEIRS), w2_3002=of(OURS))
    assert cluster.put(Routes((OVERSEER,), ())).status == 201


def test_the_first_answer_tells_the_cluster_where_there_is_no_overseer() -> None:
    cluster = Cluster(w1_3001=of(OURS))
    routes = Routes((), (W1,))
    cluster.put(routes)
    assert routes.folder == OURS
    cluster.servers[W1] = of(THEIRS)
    with pytest.raises(Unavailable):
        cluster.put(routes, SHORT)


def test_an_answer_that_names_another_cluster_is_none() -> None:
    """An older server does not look at the header of a request."""
    routes = Routes((), (W1,))
    routes.folder = OURS
    cluster = Cluster(w1_3001=always(Reply(201, {"hanas-folder": THEIRS})))
    with pytest.raises(Unavailable, match=f"that of the folder {THEIRS}") as error:
        cluster.put(routes, SHORT)
    assert error.value.outcome_unknown


@pytest.mark.parametrize("token", [None, "secret"])
def test_no_client_goes_to_a_main_elect_or_to_members_that_nobody_heard(token: str | None) -> None:
    cluster = Cluster(overseer_4000=overseer(W1, W1, W2, state="elect", heard=False), w1_3001=of(OURS))
    with pytest.raises(Unavailable, match="no main that serves"):
        cluster.put(Routes((OVERSEER,), ()), SHORT, token)
    assert not any(url.startswith((W1, W2)) for url in cluster.urls())


def test_a_token_does_not_follow_a_redirect_that_no_overseer_confirms() -> None:
    cluster = Cluster(overseer_4000=overseer(W1, W1), w1_3001=to(W2), w2_3002=of(OURS))
    with pytest.raises(Unavailable, match="which no overseer knows"):
        cluster.put(Routes((OVERSEER,), ()), SHORT, "secret")
    assert not any(url.startswith(W2) for url in cluster.urls())
    assert cluster.put(Routes((OVERSEER,), ())).status == 201


def test_a_token_follows_a_redirect_to_a_worker_that_came_after_the_pool_was_read() -> None:
    cluster = Cluster(overseer_4000=overseer(W1, W1), w1_3001=to(W2), w2_3002=of(OURS))
    routes = Routes((OVERSEER,), ())
    routes.learn_pool([W1], cluster.now)
    routes.main = W1
    cluster.servers[OVERSEER] = overseer(W2, W1, W2)
    assert cluster.put(routes, SHORT, "secret").status == 201


def test_while_no_overseer_answers_a_worker_is_believed_where_the_main_is_if_that_is_known() -> None:
    cluster = Cluster(overseer_4000=always(REFUSED), w1_3001=to(W2), w2_3002=of(OURS))
    assert cluster.put(Routes((OVERSEER,), (W1, W2)), SHORT, "secret").status == 201
    routes = Routes((OVERSEER,), (W1,))
    routes.learn_pool([W1, W2], cluster.now)
    assert cluster.put(routes, SHORT, "secret").status == 201
    assert cluster.put(Routes((OVERSEER,), (W1,)), SHORT).status == 201


@pytest.mark.parametrize("overseers", [(), (OVERSEER,)])
def test_a_hostile_redirect_gets_no_token(overseers: tuple[str, ...]) -> None:
    cluster = Cluster(overseer_4000=always(REFUSED), w1_3001=to(W2), w2_3002=of(OURS))
    with pytest.raises(Unavailable, match="the token does not go there"):
        cluster.put(Routes(overseers, (W1,)), SHORT, "secret")
    assert not any(url.startswith(W2) for url in cluster.urls())


@pytest.mark.parametrize(
    "url",
    [
        "ftp://w2:3002",
        "javascript:alert(1)",
        "http://w1:3001@w2:3002",
        "http://user:word@w2:3002",
        "http://w2:3002?x=",
        "http://w2:3002#x",
        "http://[w2",
        "http://w2:0",
        "http://w2:99999",
        "http://",
        "http://w2:3002\r\nX: y",
        "",
    ],
)
def test_an_overseer_that_names_strange_addresses_is_not_believed(url: str) -> None:
    cluster = Cluster(overseer_4000=overseer(url, url), w2_3002=of(OURS))
    for token in ("secret", None):
        with pytest.raises(Unavailable):
            cluster.put(Routes((OVERSEER,), ()), SHORT, token)
    assert not any("/v1/kv" in sent for sent in cluster.urls())


def test_an_encrypted_overseer_leads_a_token_to_encrypted_addresses_only() -> None:
    cluster = Cluster(w1_3001=of(OURS))
    cluster.servers["https://o:4000"] = overseer(W1, W1)
    with pytest.raises(Unavailable, match="no safe address"):
        cluster.put(Routes(("https://o:4000",), ()), SHORT, "secret")
    assert not any(url.startswith(W1) for url in cluster.urls())
    assert cluster.put(Routes(("https://o:4000",), ()), SHORT).status == 201
    cluster.servers["https://o:4000"] = overseer("https://w3:3003", "https://w3:3003")
    cluster.servers["https://w3:3003"] = of(OURS)
    assert cluster.put(Routes(("https://o:4000",), ()), SHORT, "secret").status == 201


def test_an_overseer_that_redirects_is_not_followed() -> None:
    away = Reply(307, {"location": f"{W2}/v1/main"})
    cluster = Cluster(overseer_4000=always(away), w2_3002=overseer(W2, W2))
    with pytest.raises(Unavailable):
        cluster.put(Routes((OVERSEER,), ()), SHORT, "secret")
    assert not any(url.startswith(W2) for url in cluster.urls())


def test_who_may_not_see_the_pool_finds_the_main() -> None:
    seeing = overseer(W1, W1)

    def limited(step: Send) -> Answer:
        return Reply(403, PROBLEM, b"{}") if step.url.endswith("/v1/pool") else seeing(step)

    cluster = Cluster(overseer_4000=limited, w1_3001=of(OURS))
    assert cluster.put(Routes((OVERSEER,), ()), SHORT, "secret").status == 201


def test_an_empty_pool_is_read_again() -> None:
    routes = Routes((OVERSEER,), ())
    routes.learn_pool([], 1.0)
    assert not routes.pool_is_fresh(1.0)
