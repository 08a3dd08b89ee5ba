"""The audit log."""

import io
import json
import logging
from typing import Any

import pytest

from hanas_serving import audit
from hanas_serving.audit import LOGGER, MOST_AT_ONCE, Audit
from hanas_serving.principals import Action, Principal, Standing
from hanas_serving.problems import Problem
from hanas_serving.settings import Audited

WEB = Principal("web", Standing.LISTED)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, LOGGER)
    return caplog


def told(lines: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    messages = [record.getMessage() for record in lines.records if record.name == LOGGER]
    assert all(message.isascii() and message.isprintable() for message in messages)
    return [json.loads(message) for message in messages]


def counts(log: Audit) -> dict[str, float]:
    samples = [sample for family in log.collect() for sample in family.samples]
    return {sample.labels.get("kind", "dropped"): sample.value for sample in samples}


def test_the_lines_stand_alone_on_their_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_log", logging.getLogger(f"{LOGGER}.test"))
    stream = io.StringIO()
    with audit.written_to(stream):
        Audit("w1", Audited.WRITES).written(WEB, Action.WRITE, "a", "10.0.0.1", 201)
    assert json.loads(stream.getvalue())["key"] == "a"
    assert stream.getvalue().count("\n") == 1


async def test_a_denied_call(lines: pytest.LogCaptureFixture) -> None:
    log = Audit("worker-1")
    log.denied(WEB, Action.WRITE, 'a"\n\x1b[31m\u2028ß'.encode() + b"\xff", "10.0.0.1", 403)
    [line] = told(lines)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "audit": "denied",
        "member": "worker-1",
        "principal": "web",
        "standing": "listed",
        "action": "write",
        "address": "10.0.0.1",
        "status": 403,
        "key": 'a"\n\x1b[31m\u2028ß\\xff',
    }


async def test_denied_calls_fill_no_disk(lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Audit()
    for _ in range(MOST_AT_ONCE + 7):
        log.denied(WEB, Action.READ, b"k" * 5000, "10.0.0.1", 403)
    assert counts(log) == {"denied": MOST_AT_ONCE, "admin": 0, "write": 0, "dropped": 7}
    assert len(told(lines)) == MOST_AT_ONCE
    assert all(len(record.getMessage()) < 1500 for record in lines.records)
    monkeypatch.setattr(audit, "REFILL_SECONDS", 1e-9)
    log.denied(WEB, Action.READ, b"", "10.0.0.1", 403)
    assert told(lines)[-1]["unsaid"] == 7
    log.denied(WEB, Action.READ, b"", "10.0.0.1", 403)
    assert "unsaid" not in told(lines)[-1]
    assert "key" not in told(lines)[-1]


def test_administrative_calls(lines: pytest.LogCaptureFixture) -> None:
    log = Audit()
    with log.administering(WEB, "switchover", "10.0.0.1") as administered:
        administered.about, administered.status = "worker-2", 202
    with pytest.raises(Problem), log.administering(WEB, "forget", "10.0.0.1", "w3"):
        raise Problem(409, "it is alive")
    with pytest.raises(ValueError, match="own"), log.administering(WEB, "forget", "10.0.0.1", "w4"):
        raise ValueError("own")
    assert [(line["audit"], line["call"], line["about"], line["status"]) for line in told(lines)] == [
        ("admin", "switchover", "worker-2", 202),
        ("admin", "forget", "w3", 409),
        ("admin", "forget", "w4", 500),
    ]


def test_writes_on_request(lines: pytest.LogCaptureFixture) -> None:
    assert not Audit().of_writes
    log = Audit("", Audited.WRITES)
    assert log.of_writes
    log.written(WEB, Action.DELETE, "a/b", "10.0.0.1", 204)
    [line] = told(lines)
    assert (line["audit"], line["action"], line["key"], line["status"]) == ("write", "delete", "a/b", 204)
