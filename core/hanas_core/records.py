"""What a batch carries: the changes to keys, as MessagePack arrays."""

import msgspec


class Idempotency(msgspec.Struct, frozen=True, array_like=True):
    """A client's idempotency key and the hash of the request that came with it."""

    key: str
    request: bytes


class Put(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    """A key gets a value."""

    key: str
    value: bytes
    content_type: str
    idempotency: Idempotency | None = None
    created: bool = False
    """The key was not there before: what a repeated request is answered."""


class Delete(msgspec.Struct, frozen=True, array_like=True, tag="d"):
    """A key goes."""

    key: str
    idempotency: Idempotency | None = None


Record = Put | Delete

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Record])


def encode(records: list[Record]) -> bytes:
    """Return the payload of a batch; empty for none."""
    return _encoder.encode(records) if records else b""


def decode(payload: bytes) -> list[Record]:
    """Return the records of a batch. The checksum was checked before: an error here is an error of this program."""
    return _decoder.decode(payload) if payload else []
