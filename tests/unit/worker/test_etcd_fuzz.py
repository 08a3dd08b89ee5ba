"""Messages by chance to every method of etcd's API, by gRPC and as JSON: always an answer, never an error of ours."""

import asyncio
import logging
import os
import random
from typing import Any

import httpx
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from hanas_serving.gate import Gate
from hanas_serving.grpc.calls import Method, StreamMethod
from hanas_serving.grpc.framing import framed
from hanas_serving.http1 import Server
from hanas_worker.faces.etcd.face import Face
from hanas_worker.faces.etcd.messages import rpc_pb2
from tests.unit.serving.connections import application
from tests.unit.serving.http2_peers import Client
from tests.unit.worker.etcd_faces import facts_of
from tests.unit.worker.etcd_model import Model

EXAMPLES = int(os.environ.get("HANAS_FUZZ_EXAMPLES", "100"))
NAMES = [
    (f"{service.name}/{method.name}", getattr(rpc_pb2, method.input_type.name))
    for service in rpc_pb2.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
NUMBERS = (0, 1, 2, -1, 7, 128, 1 << 31, (1 << 63) - 1, -(1 << 63))
TEXTS = (b"", b"a", b"\0", b"\xff", b"\xff\xff", b"b" * 100)


class Errors(logging.Handler):
    """The errors of this program."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(str(record.exc_info or record.msg))

    def __enter__(self) -> "Errors":
        logging.getLogger("hanas").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("hanas").removeHandler(self)
        assert not self.found


def fill(message: Any, chance: random.Random, depth: int = 3) -> Any:
    """Set some fields of a message to strange values."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.5:
            continue
        count = chance.randint(1, 3) if field.is_repeated else 1
        for _ in range(count):
            if field.message_type is not None:
                if depth:
                    target = getattr(message, field.name)
                    fill(target.add() if field.is_repeated else target, chance, depth - 1)
                    if not field.is_repeated:
                        target.SetInParent()
                continue
            if field.cpp_type == field.CPPTYPE_STRING:
                value: Any = chance.choice(TEXTS) if field.type == field.TYPE_BYTES else "x"
            elif field.cpp_type == field.CPPTYPE_BOOL:
                value = chance.random() < 0.5
            elif field.cpp_type == field.CPPTYPE_ENUM:
                value = chance.choice((0, 1, 2, 3, 99))
            else:
                value = chance.choice(NUMBERS)
                if field.cpp_type in {field.CPPTYPE_UINT64, field.CPPTYPE_UINT32}:
                    value = abs(value) % (1 << 32)
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
    return message


async def converse(requests: list[tuple[str, list[bytes]]]) -> None:
    """Make these calls, of which each gets its status."""
    model = Model()
    face, server = Face(facts_of(model), Gate()), Server(application)
    client = Client(server, face.dispatch)
    await client.turn()
    for name, messages in requests:
        stream = client.begin(f"/etcdserverpb.{name}".encode())
        for message in messages:
            client.engine.send_data(stream, framed(message))
        client.engine.send_data(stream, b"", end_stream=True)
        await client.turn()
        assert name.startswith("Watch/") or client.answers[stream].status is not None, name
    client.server_side.connection_lost(None)
    await asyncio.sleep(0)
    assert not model.feeds
    assert server.memory.used == 0


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=EXAMPLES)
def test_strange_messages(seed: int) -> None:
    chance = random.Random(seed)
    requests = []
    for _ in range(8):
        name, kind = chance.choice(NAMES)
        count = chance.randint(1, 3) if name in {"Watch/Watch", "Lease/LeaseKeepAlive"} else 1
        requests.append((name, [fill(kind(), chance).SerializeToString() for _ in range(count)]))
    with Errors():
        asyncio.run(converse(requests))


@given(requests=st.lists(st.tuples(st.sampled_from([name for name, _ in NAMES]), st.binary(max_size=60)), max_size=8))
@settings(max_examples=EXAMPLES)
def test_bytes_in_place_of_messages(requests: list[tuple[str, bytes]]) -> None:
    with Errors():
        asyncio.run(converse([(name, [content]) for name, content in requests]))


NAMES_OF_FIELDS = ("key", "range_end", "compare", "success", "create_request", "ID", "TTL", "limit", "request_put")
documents = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("YQ==")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["key", "range_end", "compare", "success", "create_request", "ID", "TTL", "limit", "request_put"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=10,
)
PATHS = ["/v3/kv/range", "/v3/kv/put", "/v3/kv/txn", "/v3/lease/grant", "/v3/lease/keepalive", "/v3/kv/compaction"]


@given(path=st.sampled_from(PATHS), body=st.one_of(documents.map(msgspec.json.encode), st.binary(max_size=60)))
@settings(max_examples=EXAMPLES)
def test_strange_documents(path: str, body: bytes) -> None:
    async def ask() -> None:
        face = Face(facts_of(Model()), Gate())
        transport = httpx.ASGITransport(face.gateway)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            response = await client.post(path, content=body)
        assert response.status_code in {200, 400, 404}, response.text
        for line in response.content.splitlines():
            assert isinstance(msgspec.json.decode(line), dict)

    with Errors():
        asyncio.run(ask())


def test_every_method_has_an_answer_for_each_service() -> None:
    """The services of the messages are those that are served."""

    async def paths() -> set[str]:
        face = Face(facts_of(Model()), Gate())
        methods: dict[bytes, Method | StreamMethod] = face.dispatch._methods
        return {path.decode() for path in methods}

    served = asyncio.run(paths())
    assert {path for path in served if path.startswith("/etcdserverpb.")} == {f"/etcdserverpb.{n}" for n, _ in NAMES}
