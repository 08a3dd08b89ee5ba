"""The plan of one call, played against a scripted cluster without sockets or clocks."""

from collections.abc import Callable

import msgspec
import pytest

from hanas_client import calls
from hanas_client.calls import Reply
from hanas_client.errors import PreconditionFailed, Refused, Unavailable
from hanas_client.plan import Failure, Plan, Send, StepResult, carry_out, consult
from hanas_client.routes import Routes
from hanas_client.settings import Policy

OVERSEER = "http://overseer:4000"
W1, W2, W3 = "http://w1:3001", "http://w2:3002", "http://w3:3003"
REFUSED = Failure("connection refused", sent=False)
SILENT = Failure("no answer within the time-out", sent=True)
UNCONNECTED = Failure("no connection within the time-out", sent=False, unconnected=True)
CREATED = Reply(201, {"etag": '"3-7"'})
PROBLEM = {"content-type": "application/problem+json", "retry-after": "1"}
NO_MAIN = Reply(503, PROBLEM, b'{"title":"No main","status":503,"detail":"an epoch begins"}')

Answer = Reply | Failure
Server = Callable[[Send], Answer]


def to(base: str, status: int = 307) -> Server:
    return lambda step: Reply(status, {"location": f"{base}/{step.url.split('/', 3)[3]}"})


def always(answer: Answer) -> Server:
    return lambda step: answer


def names(main: str | None, *members: str) -> Server:
    """An overseer that names this main and this pool."""

    def answer(step: Send) -> Answer:
        if step.url.endswith("/v1/pool"):
            pool = [{"member": base, "advertiseUrl": base, "new": 1} for base in members]
            return Reply(200, {}, msgspec.json.encode({"members": pool}))
        document = {"epoch": 3, "main": main and {"member": "m", "advertiseUrl": main, "state": "serving"}}
        return Reply(200, {}, msgspec.json.encode(document))

    return answer


class Cluster:
    """Servers by address, a clock that only waiting and failing move, and a record of what was sent."""

    def __init__(self, **servers: Server) -> None:
        self.servers = {f"http://{name.replace('_', ':')}": server for name, server in servers.items()}
        self.now = 100.0
        self.sent: list[Send] = []
        self.waits: list[float] = []
        self.on_wait: Callable[[], None] = lambda: None

    def play(self, plan: Plan) -> Reply:
        step = next(plan)
        while True:
            outcome: Answer | None = None
            if isinstance(step, Send):
                self.sent.append(step)
                base = "/".join(step.url.split("/")[:3])
                server = self.servers.get(base)
                outcome = REFUSED if server is None else server(step)
                if outcome == SILENT:
                    self.now += step.read_seconds
                elif outcome == UNCONNECTED:
                    self.now += step.connect_seconds
                else:
                    self.now += 0.001
            else:
                self.waits.append(step.seconds)
                self.now += step.seconds
                self.on_wait()
            try:
                step = plan.send(StepResult(self.now, outcome))
            except StopIteration as end:
                reply: Reply = end.value
                return reply

    def put(self, routes: Routes, policy: Policy | None = None, token: str | None = None) -> Reply:
        call = calls.put("a", b"x").call
        return self.play(carry_out(call, routes, policy or Policy(), self.now, lambda: 1.0, token))

    def urls(self) -> list[str]:
        return [step.url for step in self.sent]


def test_overseer_names_the_main_and_the_pool_is_remembered() -> None:
    cluster = Cluster(overseer_4000=names(W1, W1, W2), w1_3001=always(CREATED))
    routes = Routes((OVERSEER,), ())
    assert cluster.put(routes) == CREATED
    assert cluster.urls() == [f"{OVERSEER}/v1/main", f"{OVERSEER}/v1/pool", f"{W1}/v1/kv/a"]
    assert routes.workers == (W1, W2)


def test_where_backups_serve_any_worker_is_asked_on_and_another_one_when_it_fails() -> None:
    cluster = Cluster(overseer_4000=names(W1, W1, W2, W3), w3_3003=always(CREATED), w2_3002=always(CREATED))
    routes, anywhere = Routes((OVERSEER,), ()), Policy(any_worker=True)
    for _ in range(2):
        assert cluster.put(routes, anywhere) == CREATED
    assert cluster.urls()[2:] == 2 * [f"{W3}/v1/kv/a"]
    cluster.servers[W3] = always(REFUSED)
    cluster.sent.clear()
    assert cluster.put(routes, anywhere) == CREATED
    assert cluster.urls()[-1] == f"{W2}/v1/kv/a"


def test_where_no_worker_is_known_the_main_is_asked() -> None:
    cluster = Cluster(overseer_4000=names(W1), w1_3001=always(CREATED))
    assert cluster.put(Routes((OVERSEER,), ()), Policy(any_worker=True)) == CREATED


def test_known_main_is_asked_directly() -> None:
    cluster = Cluster(overseer_4000=names(W1, W1), w1_3001=always(CREATED))
    routes = Routes((OVERSEER,), ())
    cluster.put(routes)
    cluster.sent.clear()
    cluster.put(routes)
    assert cluster.urls() == [f"{W1}/v1/kv/a"]


def test_redirect_of_a_backup_is_followed_and_remembered() -> None:
    cluster = Cluster(w1_3001=to(W2), w2_3002=always(CREATED))
    routes = Routes((), (W1,))
    assert cluster.put(routes) == CREATED
    assert routes.main == W2
    assert cluster.waits == []


def test_relative_redirect() -> None:
    def answer(step: Send) -> Answer:
        return CREATED if step.url.endswith("/elsewhere") else Reply(307, {"location": "/elsewhere"})

    routes = Routes((), (W1,))
    assert Cluster(w1_3001=answer).put(routes) == CREATED


@pytest.mark.parametrize("location", [None, "", "ftp://w2/v1/kv/a", "http://[bad/"])
def test_redirect_to_nowhere_is_no_final_reply(location: str | None) -> None:
    headers = {} if location is None else {"location": location}
    cluster = Cluster(w1_3001=always(Reply(307, headers)))
    with pytest.raises(Unavailable) as failure:
        cluster.put(Routes((), (W1,)), Policy(deadline=1.0))
    assert "redirects lead to no main" in str(failure.value)


def test_token_is_sent_but_never_from_https_to_http() -> None:
    cluster = Cluster(w2_3002=always(CREATED))
    cluster.servers["https://w1:3001"] = to(W2)
    with pytest.raises(Unavailable):
        cluster.put(Routes((), ("https://w1:3001",)), Policy(deadline=1.0), token="secret")
    assert {step.headers["authorization"] for step in cluster.sent} == {"Bearer secret"}
    assert not any(url.startswith(W2) for url in cluster.urls())


def test_all_tries_of_a_write_carry_one_idempotency_key() -> None:
    cluster = Cluster(overseer_4000=names(W1, W1, W2), w1_3001=always(SILENT), w2_3002=always(NO_MAIN))

    def take_over() -> None:
        if len(cluster.waits) == 3:
            cluster.servers |= {OVERSEER: names(W2, W2), W1: always(REFUSED), W2: always(CREATED)}

    cluster.on_wait = take_over
    assert cluster.put(Routes((OVERSEER,), ())) == CREATED
    keys = [step.headers["idempotency-key"] for step in cluster.sent if step.method == "PUT"]
    assert len(keys) >= 4
    assert len(set(keys)) == 1


def test_another_call_has_another_idempotency_key() -> None:
    keys = {calls.put("a", b"x").call.headers["idempotency-key"] for _ in range(3)}
    assert len(keys) == 3


def test_two_backups_that_point_at_one_another() -> None:
    cluster = Cluster(w1_3001=to(W2), w2_3002=to(W1))

    def take_over() -> None:
        if len(cluster.waits) == 2:
            cluster.servers[W2] = always(CREATED)

    cluster.on_wait = take_over
    assert cluster.put(Routes((), (W1, W2))) == CREATED
    assert len(cluster.sent) <= 6  # no round goes in circles


def test_backups_that_point_at_a_dead_main() -> None:
    cluster = Cluster(overseer_4000=names(W3, W1, W2, W3), w1_3001=to(W3), w2_3002=to(W3))

    def take_over() -> None:
        if len(cluster.waits) == 4:
            cluster.servers |= {W1: always(CREATED), W2: to(W1)}  # the overseer does not know yet

    cluster.on_wait = take_over
    assert cluster.put(Routes((OVERSEER,), ())) == CREATED
    assert sum(cluster.waits) < 1.0


def test_all_overseers_dead_goes_on_with_the_pool() -> None:
    cluster = Cluster(overseer_4000=names(W1, W1, W2, W3), w1_3001=always(CREATED))
    routes = Routes((OVERSEER,), ())
    cluster.put(routes)
    cluster.servers = {W2: to(W3), W3: always(CREATED)}
    assert cluster.put(routes) == CREATED
    assert routes.main == W3


def test_dead_overseer_rests_while_workers_can_be_asked() -> None:
    cluster = Cluster(w1_3001=always(NO_MAIN))
    with pytest.raises(Unavailable):
        cluster.put(Routes((OVERSEER,), (W1,)), Policy(deadline=0.9))
    assert cluster.urls().count(f"{OVERSEER}/v1/main") == 1


def test_second_overseer_is_asked_when_the_first_is_dead() -> None:
    cluster = Cluster(overseer2_4000=names(W1, W1), w1_3001=always(CREATED))
    routes = Routes((OVERSEER, "http://overseer2:4000"), ())
    assert cluster.put(routes) == CREATED
    assert routes.overseers[0] == "http://overseer2:4000"


@pytest.mark.parametrize("body", [b"<html>", b'{"main": 3}', b'\xff{"main": null}'])
def test_what_is_no_overseer_is_passed_over(body: bytes) -> None:
    cluster = Cluster(overseer_4000=always(Reply(200, {}, body)), w1_3001=always(CREATED))
    assert cluster.put(Routes((OVERSEER,), (W1,))) == CREATED


def test_overseer_without_a_main_is_asked_again() -> None:
    cluster = Cluster(overseer_4000=names(None), w1_3001=always(CREATED))

    def elect() -> None:
        cluster.servers[OVERSEER] = names(W1, W1)

    cluster.on_wait = elect
    assert cluster.put(Routes((OVERSEER,), ())) == CREATED
    assert len(cluster.waits) == 1


def test_waits_grow_to_the_cap_whatever_retry_after_says() -> None:
    cluster = Cluster(w1_3001=always(NO_MAIN))
    with pytest.raises(Unavailable):
        cluster.put(Routes((), (W1,)), Policy(deadline=3.0))
    assert cluster.waits[:6] == [0.02, 0.04, 0.08, 0.16, 0.25, 0.25]


def test_retry_after_zero_shortens_the_wait() -> None:
    cluster = Cluster(w1_3001=always(Reply(503, {"retry-after": "0"})))
    with pytest.raises(Unavailable):
        cluster.put(Routes((), (W1,)), Policy(deadline=0.2))
    assert set(cluster.waits[:-1]) == {0.02}


def test_tries_are_never_longer_than_what_is_left() -> None:
    cluster = Cluster(w1_3001=always(SILENT))
    with pytest.raises(Unavailable) as failure:
        cluster.put(Routes((), (W1,)), Policy(deadline=12.5))
    assert failure.value.elapsed == pytest.approx(12.5, abs=0.01)
    assert [round(step.read_seconds) for step in cluster.sent] == [1, 2, 4, 5, 0]


def test_an_address_that_leads_nowhere_is_soon_tried_again_and_a_far_one_gets_its_time() -> None:
    cluster = Cluster(w1_3001=always(UNCONNECTED))
    with pytest.raises(Unavailable):
        cluster.put(Routes((), (W1,)), Policy(deadline=30.0))
    assert [step.connect_seconds for step in cluster.sent][:7] == [0.3, 0.6, 1.2, 2.4, 4.8, 5.0, 5.0]


def test_a_refused_connection_makes_nobody_patient() -> None:
    cluster = Cluster(w1_3001=always(REFUSED))
    with pytest.raises(Unavailable):
        cluster.put(Routes((), (W1,)), Policy(deadline=1.0))
    assert {step.connect_seconds for step in cluster.sent[:-1]} == {0.3}


def test_a_call_that_any_server_answers_is_as_impatient() -> None:
    cluster = Cluster(w1_3001=always(UNCONNECTED), w2_3002=always(UNCONNECTED))
    with pytest.raises(Unavailable):
        cluster.play(consult(calls.status().call, (W1, W2), Policy(deadline=3.0), cluster.now, lambda: 1.0))
    assert [step.connect_seconds for step in cluster.sent][:3] == [0.3, 0.6, 1.2]


@pytest.mark.parametrize(
    ("answer", "unknown"),
    [
        (REFUSED, False),
        (SILENT, True),
        (Failure("connection reset by peer", sent=True), True),
        (NO_MAIN, False),
        (Reply(503, PROBLEM | {"hanas-outcome": "unknown"}), True),
        (Reply(503, {"retry-after": "1"}, b"<html>a proxy"), True),
        (Reply(500), True),
        (Reply(502), True),
        (Reply(429), False),
    ],
)
def test_deadline_says_whether_the_outcome_is_unknown(answer: Answer, unknown: bool) -> None:
    cluster = Cluster(w1_3001=always(answer))
    with pytest.raises(Unavailable) as failure:
        cluster.put(Routes((), (W1,)), Policy(deadline=1.0))
    assert failure.value.outcome_unknown is unknown
    assert ("may or may not" in str(failure.value)) is unknown
    assert ("nothing was written" in str(failure.value)) is not unknown


def test_a_read_has_no_unknown_outcome() -> None:
    cluster = Cluster(w1_3001=always(SILENT))
    with pytest.raises(Unavailable) as failure:
        cluster.play(carry_out(calls.get("a").call, Routes((), (W1,)), Policy(deadline=1.0), 100.0, lambda: 0.0))
    assert not failure.value.outcome_unknown
    assert "written" not in str(failure.value)


def test_nothing_answers_gives_up_early() -> None:
    cluster = Cluster()
    with pytest.raises(Unavailable) as failure:
        cluster.put(Routes((OVERSEER,), ()), Policy(deadline=30.0, first_contact=2.0))
    assert not failure.value.contacted
    assert failure.value.elapsed == pytest.approx(2.0, abs=0.1)
    assert "connection refused" in str(failure.value)


def test_contact_extends_patience_to_the_deadline() -> None:
    cluster = Cluster(overseer_4000=names(W1, W1))
    with pytest.raises(Unavailable) as failure:
        cluster.put(Routes((OVERSEER,), ()), Policy(deadline=5.0, first_contact=2.0))
    assert failure.value.contacted
    assert failure.value.elapsed == pytest.approx(5.0, abs=0.1)


@pytest.mark.parametrize("status", [400, 401, 404, 412, 413, 422, 507])
def test_refusals_are_final(status: int) -> None:
    cluster = Cluster(w1_3001=always(Reply(status)))
    assert cluster.put(Routes((), (W1,))).status == status
    assert len(cluster.sent) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_an_overseer_that_wants_a_token_is_not_asked_again(status: int) -> None:
    problem = Reply(status, PROBLEM, b'{"title":"Unauthorized","status":401,"detail":"a bearer token is needed"}')
    cluster = Cluster(overseer_4000=always(problem))
    with pytest.raises(Refused, match="a bearer token is needed"):
        cluster.play(carry_out(calls.get("k").call, Routes((OVERSEER,), ()), Policy(), cluster.now, lambda: 0.5))
    assert len(cluster.sent) == 1


def test_condition_that_fails_is_an_error_of_its_own() -> None:
    operation = calls.put("a", b"x", if_match="3-1")
    assert operation.call.headers["if-match"] == '"3-1"'
    body = b'{"title":"Precondition failed","status":412,"detail":"it is 3-2"}'
    with pytest.raises(PreconditionFailed, match="it is 3-2"):
        operation.read(Reply(412, {}, body))


def test_consult_asks_one_after_another() -> None:
    cluster = Cluster(w1_3001=always(NO_MAIN), w2_3002=to(W1), w3_3003=always(Reply(200, {}, b"{}")))
    plan = consult(calls.status().call, (W1, W2, W3), Policy(), cluster.now, lambda: 0.0)
    assert cluster.play(plan).status == 200
    assert len(cluster.sent) == 3


def test_consult_gives_up_at_the_deadline() -> None:
    cluster = Cluster(w1_3001=always(NO_MAIN))
    plan = consult(calls.status().call, (W1,), Policy(deadline=1.0), cluster.now, lambda: 0.0)
    with pytest.raises(Unavailable, match="an epoch begins"):
        cluster.play(plan)


def test_client_without_any_address() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Routes((), ())
