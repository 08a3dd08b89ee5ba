"""Histories whose judgement is known, good ones and bad ones."""

from pathlib import Path
from typing import Any

import pytest

from hanas_lab import history, linearizable
from hanas_lab.audit import Judgement, LastValue, judge
from hanas_lab.history import Action, Operation, OperationOutcome


def put(start: float, end: float | None, value: str, version: str | None = None, **more: Any) -> Operation:
    outcome = OperationOutcome.OK if version else OperationOutcome.UNKNOWN
    return Operation(
        **{
            "start": start,
            "end": end,
            "kind": Action.PUT,
            "key": "k",
            "value": value,
            "version": version,
            "outcome": outcome,
            **more,
        }
    )


def get(start: float, end: float, value: str | None, version: str | None = None, **more: Any) -> Operation:
    outcome = OperationOutcome.ABSENT if value is None else OperationOutcome.OK
    return Operation(
        **{
            "start": start,
            "end": end,
            "kind": Action.GET,
            "key": "k",
            "value": value,
            "version": version,
            "outcome": outcome,
            **more,
        }
    )


def delete(start: float, end: float | None, outcome: OperationOutcome = OperationOutcome.OK, **more: Any) -> Operation:
    return Operation(**{"start": start, "end": end, "kind": Action.DELETE, "key": "k", "outcome": outcome, **more})


def judged(*operations: Operation, end: dict[str, LastValue] | None = None) -> Judgement:
    return judge(operations, end)


GOOD = {
    "nothing happened": [],
    "a write is read": [put(0, 1, "a", "1-1"), get(2, 3, "a", "1-1")],
    "a read during a write may see it or not": [
        put(0, 9, "a", "1-1"),
        get(1, 2, None),
        get(3, 4, "a", "1-1"),
    ],
    "writes at the same time take the order of their versions": [
        put(0, 9, "a", "1-2"),
        put(0, 9, "b", "1-1"),
        get(10, 11, "a", "1-2"),
    ],
    "an unknown write is found later": [put(0, None, "a"), get(50, 51, None), get(99, 100, "a", "2-1")],
    "an unknown write is never found": [put(0, 1, "a", "1-1"), put(2, None, "b"), get(50, 51, "a", "1-1")],
    "an unknown write happens between others": [
        put(0, 1, "a", "1-1"),
        put(2, None, "b"),
        get(3, 4, "b", "1-2"),
        put(5, 6, "c", "2-3", created=False),
        get(7, 8, "c", "2-3"),
    ],
    "an unknown delete explains a 404": [
        put(0, 1, "a", "1-1"),
        delete(2, None, OperationOutcome.UNKNOWN),
        get(3, 4, None),
    ],
    "an unknown delete explains a 201": [
        put(0, 1, "a", "1-1"),
        delete(2, None, OperationOutcome.UNKNOWN),
        put(3, 4, "b", "2-3", created=True),
    ],
    "an unknown delete and an unknown conditional put explain a read together": [
        put(0, 1, "a", "1-1"),
        delete(2, None, OperationOutcome.UNKNOWN),
        put(3, None, "b", if_none_match=("*",)),
        get(4, 5, "b", "2-4"),
    ],
    "a key comes and goes": [
        put(0, 1, "a", "1-1", created=True),
        delete(2, 3),
        delete(4, 5, OperationOutcome.ABSENT),
        put(6, 7, "b", "1-3", created=True),
        get(8, 9, "b", "1-3"),
    ],
    "a write with If-Match over the version that it names": [
        put(0, 1, "a", "1-1"),
        put(2, 3, "b", "1-2", if_match=("1-1",)),
        get(4, 5, "b", "1-2"),
    ],
    "a refused write names what is there": [
        put(0, 1, "a", "1-1"),
        put(2, 3, "b", outcome=OperationOutcome.REFUSED, version="1-1", if_none_match=("*",)),
        put(4, 5, "c", outcome=OperationOutcome.REFUSED, version="1-1", if_match=("1-0",)),
        get(6, 7, "a", "1-1"),
    ],
    "a refused write names an unknown write's version": [
        put(0, None, "a"),
        put(2, 3, "b", outcome=OperationOutcome.REFUSED, version="1-1", if_none_match=("*",)),
        get(4, 5, "a", "1-1"),
    ],
    "a refused write at a key that is not there": [
        put(0, 1, "a", outcome=OperationOutcome.REFUSED, if_match=("1-1",)),
        get(2, 3, None),
    ],
    "what was not done says nothing": [
        put(0, 1, "a", "1-1"),
        put(2, 3, "b", outcome=OperationOutcome.NOT_DONE),
        get(4, 5, "a", "1-1"),
    ],
    "a read without an answer says nothing": [get(0, 1, None, outcome=OperationOutcome.UNKNOWN)],
    "a repeated write happens once, at the time of either try": [
        put(0, 1, "a", idempotency_key="i"),
        get(2, 3, None),
        put(4, 5, "a", "2-1", idempotency_key="i", created=True),
        get(6, 7, "a", "2-1"),
    ],
    "a repeated write is answered again after it was overwritten": [
        put(0, 1, "a", "1-1", idempotency_key="i"),
        put(2, 3, "b", "1-2"),
        put(4, 5, "a", "1-1", idempotency_key="i"),
        get(6, 7, "b", "1-2"),
    ],
    "two tries with unknown outcomes happen once": [
        put(0, 1, "a", idempotency_key="i"),
        put(2, 3, "a", idempotency_key="i"),
        get(4, 5, "a", "2-2"),
    ],
}

BAD = {
    "a stale read": [put(0, 1, "a", "1-1"), put(2, 3, "b", "1-2"), get(4, 5, "a", "1-1")],
    "a stale 404": [put(0, 1, "a", "1-1"), get(2, 3, None)],
    "a lost acknowledged write": [put(0, 1, "a", "1-1"), put(2, 3, "b", "2-1", created=True)],
    "a phantom: read, then gone": [
        put(0, 1, "a", "1-1"),
        put(2, None, "b"),
        get(3, 4, "b", "1-2"),
        get(5, 6, "a", "1-1"),
    ],
    "a value that nobody wrote": [put(0, 1, "a", "1-1"), get(2, 3, "z", "1-2")],
    "a read before the write began": [get(0, 1, "a", "1-1"), put(2, 3, "a", "1-1")],
    "a value comes back with its old version": [
        put(0, 1, "a", "1-1"),
        delete(2, 3),
        get(4, 5, "a", "1-1"),
    ],
    "the same value under another version": [put(0, 1, "a", "1-1"), get(2, 3, "a", "1-2")],
    "versions that go back": [put(0, 1, "a", "2-2"), put(2, 3, "b", "1-3")],
    "one version for two writes": [put(0, 9, "a", "1-1"), put(0, 9, "b", "1-1")],
    "two readers that see two writes in different orders": [
        put(0, 20, "a", "1-1"),
        put(0, 20, "b", "1-2"),
        get(1, 2, "b", "1-2"),
        get(3, 4, "a", "1-1"),
    ],
    "two conditional writes over one version": [
        put(0, 1, "a", "1-1"),
        put(2, 9, "b", "1-2", if_match=("1-1",)),
        put(2, 9, "c", "1-3", if_match=("1-1",)),
    ],
    "two exclusive writes of one new key": [
        put(0, 9, "a", "1-1", if_none_match=("*",)),
        put(0, 9, "b", "1-2", if_none_match=("*",)),
    ],
    "a condition that failed although it held": [
        put(0, 1, "a", "1-1"),
        put(2, 3, "b", outcome=OperationOutcome.REFUSED, version="1-1", if_match=("1-1",)),
    ],
    "a 412 that rests on a write which is gone": [
        put(0, 1, "a", "1-1"),
        put(2, None, "b"),
        put(3, 4, "c", outcome=OperationOutcome.REFUSED, version="1-2", if_match=("1-1",)),
        get(5, 6, "a", "1-1"),
    ],
    "a replaced key that was not there": [put(0, 1, "a", "1-1", created=False)],
    "a delete of a key that was not there": [delete(0, 1)],
    "an unknown write that takes place twice": [
        put(0, None, "a"),
        get(2, 3, "a", "1-1"),
        put(4, 5, "b", "1-2"),
        get(6, 7, "a", "1-3"),
    ],
    "a repeated write that happens twice": [
        put(0, 1, "a", idempotency_key="i"),
        get(2, 3, "a", "1-1"),
        put(4, 5, "b", "1-2"),
        put(6, 7, "a", "2-3", idempotency_key="i"),
    ],
    "a repeated write with two answers": [
        put(0, 1, "a", "1-1", idempotency_key="i"),
        put(2, 3, "a", "1-2", idempotency_key="i"),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_is_found_good(name: str) -> None:
    verdict = judged(*GOOD[name])
    assert verdict.ok, str(verdict)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_found_bad(name: str) -> None:
    verdict = judged(*BAD[name])
    assert [violation.key for violation in verdict.violations] == ["k"]


def test_a_verdict_names_the_key_and_shows_what_does_not_fit() -> None:
    stale = [put(0, 1, "a", "1-1", client="w"), put(2, 3, "b", "1-2", client="w"), get(4, 5, "a", "1-1", client="r")]
    other = _of_another_key()
    text = str(judged(*stale, *other))
    assert "key 'k': no order explains every answer" in text
    assert "put k b → ok version 1-2" in text
    assert "the key holds: b (version 1-2)" in text
    assert text.endswith("r: get k → ok a version 1-1")
    assert "other" not in text


def _of_another_key() -> list[Operation]:
    return [put(0, 1, "x", "1-9", key="other"), get(2, 3, "x", "1-9", key="other")]


def test_keys_are_judged_each_for_itself() -> None:
    verdict = judged(*BAD["a stale read"], *_of_another_key(), put(0, 1, "a", "1-5", key="third"))
    assert (verdict.keys, verdict.operations) == (3, 6)
    assert [violation.key for violation in verdict.violations] == ["k"]


class TestTheEnd:
    WRITTEN = (put(0, 1, "a", "1-1"), put(2, 3, "b", "1-2"))

    def test_the_last_acknowledged_write_is_there(self) -> None:
        verdict = judged(*self.WRITTEN, end={"k": LastValue("b", "1-2")})
        assert verdict.ok, str(verdict)

    def test_a_later_write_of_unknown_outcome_may_be_there_instead(self) -> None:
        assert judged(*self.WRITTEN, put(4, None, "c"), end={"k": LastValue("c", "2-3")}).ok

    def test_an_earlier_one_is_not_enough(self) -> None:
        verdict = judged(*self.WRITTEN, end={"k": LastValue("a", "1-1")})
        assert [operation.value for operation in verdict.lost] == ["b"]
        assert "lost: [2.000000, 3.000000] put k b" in str(verdict)

    def test_nothing_is_not_enough(self) -> None:
        verdict = judged(*self.WRITTEN, end={})
        assert [operation.value for operation in verdict.lost] == ["a", "b"]

    def test_another_value_under_its_version_is_not_it(self) -> None:
        assert [lost.value for lost in judged(*self.WRITTEN, end={"k": LastValue("x", "1-2")}).lost] == ["b"]

    def test_a_delete_may_have_removed_it(self) -> None:
        for deleted in (delete(4, 5), delete(4, None, OperationOutcome.UNKNOWN)):
            assert judged(*self.WRITTEN, deleted, end={}).ok

    def test_a_delete_that_found_nothing_has_not(self) -> None:
        verdict = judged(*self.WRITTEN, delete(2, 3, OperationOutcome.ABSENT), end={})
        assert len(verdict.lost) == 2

    def test_without_versions_the_values_decide(self) -> None:
        writes = (put(0, 1, "a", outcome=OperationOutcome.OK), put(2, 3, "b", outcome=OperationOutcome.OK))
        assert judged(*writes, end={"k": LastValue("b")}).ok
        assert not judged(*writes, end={"k": LastValue("a")}).ok


def test_a_search_that_takes_too_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linearizable, "MOST_STEPS", 1)
    verdict = judged(*GOOD["a key comes and goes"])
    assert not verdict.ok
    assert str(verdict).endswith("key 'k': given up, its history is too hard to decide")


def test_a_version_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="'seven' is not a version"):
        judged(put(0, 1, "a", "seven"))


class TestFile:
    def test_a_history_comes_back_as_it_was_written(self, tmp_path: Path) -> None:
        operations = [
            *GOOD["a refused write names what is there"],
            delete(9, None, OperationOutcome.UNKNOWN, client="c"),
        ]
        history.write(tmp_path / "history", operations)
        assert list(history.read(tmp_path / "history")) == operations

    def test_a_line_holds_only_what_was_said(self) -> None:
        assert history.encode(put(12.25, 12.75, "v7", "2-1042", client="c1")) == (
            b'{"start":12.25,"end":12.75,"client":"c1","kind":"put","key":"k","value":"v7","outcome":"ok",'
            b'"version":"2-1042"}\n'
        )

    def test_a_line_that_is_none_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "history").write_bytes(history.encode(put(0, 1, "a", "1-1")) + b'\n{"start": 1}\n')
        with pytest.raises(ValueError, match="line 3: Object missing required field"):
            list(history.read(tmp_path / "history"))
