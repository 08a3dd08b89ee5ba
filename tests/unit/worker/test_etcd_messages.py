"""The generated messages of etcd's API are those of the files beside them, and their wire format is etcd's."""

import sys
from pathlib import Path

import pytest
from grpc_tools import protoc

from hanas_worker.faces.etcd.messages.kv_pb2 import KeyValue
from hanas_worker.faces.etcd.messages.rpc_pb2 import (
    Compare,
    PutRequest,
    WatchCreateRequest,
    WatchRequest,
    WatchResponse,
)

PARTS = Path(__file__).parents[3] / "worker"
MESSAGES = PARTS / "hanas_worker/faces/etcd/messages"
SOURCES = sorted(path.name for path in MESSAGES.glob("*.proto"))


@pytest.mark.parametrize("source", SOURCES)
def test_the_generated_code_is_that_of_its_source(source: str, tmp_path: Path) -> None:
    options = [f"-I{PARTS}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]

    assert protoc.main([sys.argv[0], *options, str(MESSAGES / source)]) == 0

    for made in tmp_path.rglob("*_pb2.py*"):
        assert made.read_bytes() == (PARTS / made.relative_to(tmp_path)).read_bytes(), "run `make messages`"


def test_messages_go_over_the_wire_as_those_of_etcd() -> None:
    put = PutRequest(key=b"k", value=b"v", lease=7, prev_kv=True)
    assert put.SerializeToString() == b"\x0a\x01k\x12\x01v\x18\x07\x20\x01"
    assert Compare(key=b"k", range_end=b"l").SerializeToString() == b"\x1a\x01k\x82\x04\x01l"
    watch = WatchRequest(create_request=WatchCreateRequest(key=b"k", watch_id=5))
    assert watch.SerializeToString() == b"\x0a\x05\x0a\x01k\x38\x05"
    assert WatchResponse(watch_id=-1).SerializeToString() == b"\x10" + b"\xff" * 9 + b"\x01"
    assert KeyValue.FromString(b"\x0a\x01k\x10\x02\x18\x03\x20\x04\x2a\x01v\x30\x06") == KeyValue(
        key=b"k", create_revision=2, mod_revision=3, version=4, value=b"v", lease=6
    )
