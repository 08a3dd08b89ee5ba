"""A key is any bytes: one that is no text goes everywhere that a text goes, and keys are in order of their bytes."""

import msgspec
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from hanas_core.log import records
from hanas_core.log.positions import Facts, Version
from hanas_core.state.changes import Reading
from hanas_core.state.judge import Outcome, Result, Write
from hanas_core.state.keyspace import KeySpace
from hanas_core.state.keytexts import is_text, shown, text_or_bytes
from hanas_core.state.leases import Grant, Revoke
from hanas_core.state.queue import GroupCommit
from hanas_core.state.replica import Replica
from hanas_core.state.reports import Deleted, Put, Report, Row, Rows
from hanas_core.state.transactions import (
    BadTransaction,
    Compare,
    DeleteKeys,
    PutKey,
    ReadKeys,
    Relation,
    Span,
    Target,
    Transaction,
    check,
)
from hanas_core.upkeep.archive import Item, item_of
from hanas_core.upkeep.copying import FolderCopy
from hanas_core.upkeep.findings import FolderReport
from hanas_core.upkeep.restoring import Restoration
from hanas_core.volume.blocking import run
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, SEGMENT_BYTES, promoted, win
from tests.unit.core.test_compaction import LARGE
from tests.unit.core.test_revisions import checked, in_a_folder

KEY = b"\xff\x00a"
keys = st.binary(min_size=1, max_size=6)
texts = st.text(max_size=6)


# ---------------------------------------------------------------------- order, and spans


@given(texts, texts)
def test_the_order_of_bytes_is_that_of_code_points(one: str, other: str) -> None:
    assert (one < other) is (one.encode() < other.encode())


@given(keys, st.binary(max_size=3))
def test_the_span_of_a_prefix_has_all_keys_that_begin_with_it(key: bytes, prefix: bytes) -> None:
    assert Span.prefix(prefix).holds(key) is key.startswith(prefix)
    assert Span.prefix(prefix).holds(prefix + key)
    assert Span.one(prefix).holds(key) is (key == prefix)


@given(st.sets(st.binary(min_size=1, max_size=3)), st.binary(max_size=1), st.integers(1, 4))
def test_pages_are_in_order_and_leave_nothing_out(present: set[bytes], prefix: bytes, limit: int) -> None:
    space = KeySpace()
    for number, key in enumerate(present):
        space.put(key, bytes(36) + (number + 2).to_bytes(8, "little"), number + 2, number + 2, 0)
    listed, after = list[bytes](), b""
    while True:
        entries, following = space.page(prefix, after, limit)
        listed += [key for key, _ in entries]
        if following is None:
            break
        after = following
    assert listed == sorted(key for key in present if key.startswith(prefix))


# ---------------------------------------------------------------------- through everything


def test_a_key_that_is_no_text_goes_everywhere() -> None:
    play = in_a_folder()
    play.grant(7, 30)
    play.put(KEY, LARGE, 97, 7)
    play.put(b"\xff", LARGE, 97)
    play.put(b"k", LARGE, 97)
    play.transact(
        Transaction(
            (Compare(Span.one(KEY), Target.LEASE, Relation.EQUAL, 7),),
            (PutKey(KEY, b"again", lease=7), ReadKeys(Span.prefix(b"\xff"), 9), DeleteKeys(Span.one(b"\xff"))),
        )
    )
    index = play.main.replica.index
    assert [key for key, _ in index.page(b"\xff", b"", 9).entries] == [KEY]
    stretch = Reading(index.keys, Span.one(KEY), 1, previous=False).read(index.revision, 1 << 20, lambda: True)
    assert stretch is not None
    assert [event.key for event in stretch.events] == [KEY, KEY]
    play.snapshot([("put", KEY, LARGE, 98, 7)])
    play.merge(0, 9, [("put", KEY, LARGE, 99, 7)])
    play.take_over(unsure=True, cold=False)
    play.take_over(unsure=False, cold=True)
    assert play.main.replica.index.leases.attached == {KEY: 7}
    assert checked(play) == []
    play.end()
    play.revoke(7)
    assert play.main.replica.index.get(KEY) is None
    play.end()


def test_a_transaction_tells_of_it() -> None:
    play = in_a_folder()
    steps = PutKey(KEY, b"v"), ReadKeys(Span.prefix(b"\xff"), 9), DeleteKeys(Span.prefix(b"\xfe"))
    outcome = play._transact(Transaction((), steps))
    results = Put(), Rows((Row(KEY, 2),), more=False), Deleted(0)
    assert outcome == Outcome(Result.TRANSACTED, Version(1, 1), 2, Report(succeeded=True, results=results))
    with pytest.raises(BadTransaction, match=r"changes the key '\\\\xff\\x00a' twice"):
        check(Transaction((), (PutKey(KEY, b""), PutKey(KEY, b""))))


def test_a_record_of_the_log_tells_of_it() -> None:
    play = in_a_folder()
    play.main.write(Grant(7, 30), Write(KEY, b"v", lease=7), Revoke(7))
    (record,) = [one for one in play.main.commits._records if isinstance(one, records.Revoked)]
    assert record.keys == (KEY,)


def test_an_archive_carries_it() -> None:
    play = in_a_folder()
    play.put(KEY, 3, 97)
    play.put(b"k", 3, 97)
    copy = FolderCopy(play.main.folder.other())
    assert play.main.log.committed is not None
    run(copy.read(play.main.log.committed))
    items = run(copy.take())
    assert [(item.key, item.key_base64, item.name) for item in items] == [("", KEY, KEY), ("k", UNSET, b"k")]
    assert msgspec.json.decode(msgspec.json.encode(items[0]), type=Item) == items[0]
    assert b'"keyBase64":"/wBh"' in msgspec.json.encode(item_of(KEY, b"", "", "", Facts(2, 2)))
    folder = MemoryFolder()
    restoration = run(Restoration.begin(folder, FOLDER_ID, SEGMENT_BYTES, "now", lambda: 0.0, copy.store_revision))
    run(restoration.add(items))
    run(restoration.finish())
    index = promoted(folder.other(), win(folder.other(), 2, "b")).replica.index
    assert [key for key, _ in index.page(b"", b"", 9).entries] == [b"k", KEY]


def test_a_finding_names_it_with_escapes() -> None:
    report = FolderReport()
    report.error("segments/1", 0, "damaged", [KEY, "\xe4".encode()])
    assert report.findings[0].keys == ("\\xff\0a", "\xe4")


# ---------------------------------------------------------------------- where only texts were known


def test_a_log_without_revisions_has_no_such_key() -> None:
    commits = GroupCommit[None](Replica(), 3, 1)
    for request in (Write(KEY, b"v", idempotency_key="once"), Write(KEY, None), Write(b"k", b"v")):
        commits.submit(request, None)
    assert commits.next_batch(1 << 20) is not None
    assert [outcome for _, outcome in commits._answers] == [
        Outcome(Result.NO_REVISIONS),
        Outcome(Result.NOT_FOUND),
        Outcome(Result.CREATED, Version(3, 1)),
    ]


@given(texts)
def test_an_idempotency_key_is_known_whatever_version_wrote_it(key: str) -> None:
    fields = (key, b"v", "", None, None)
    assert Write(key.encode(), b"v").digest() == xxhash.xxh3_128_digest(msgspec.msgpack.encode(fields))


def test_requests_for_other_keys_are_other_requests() -> None:
    assert Write(KEY, b"v").digest() != Write(b"\xfe", b"v").digest()


@given(keys)
def test_texts_are_keys_that_are_utf_8(key: bytes) -> None:
    text = text_or_bytes(key)
    assert is_text(key) is isinstance(text, str)
    assert (text.encode() if isinstance(text, str) else text) == key
    assert shown(key) == text or not is_text(key)
