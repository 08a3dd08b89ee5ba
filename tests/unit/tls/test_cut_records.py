"""What arrives in pieces of any size is decrypted as soon as a record is complete."""

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from hanas_serving.secured import Port, Secured
from hanas_serving.stream import Stream
from hanas_serving.tls import Tls
from tests.unit.tls.pki import HOST, Authority
from tests.unit.waiting import until

PARTS = (b"a", b"b" * 100, b"c" * 16_384, b"d" * 40_000, b"e")
"""What a client writes at once each; records hold 16 KiB of it at most."""

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Above:
    """Keeps what is handed up."""

    def __init__(self) -> None:
        self.content = b""
        self.sizes: list[int] = []

    def connection_made(self, _: asyncio.Transport) -> None:
        pass

    def data_received(self, data: bytes) -> None:
        self.content += data
        self.sizes.append(len(data))

    def holds(self, parts: Sequence[bytes]) -> bool:
        return self.content == b"".join(parts)


class Wire(asyncio.Transport):
    """Carries what the server sends to the client."""

    def __init__(self, incoming: ssl.MemoryBIO) -> None:
        super().__init__()
        self._incoming = incoming

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._incoming.write(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        del name
        return default

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Talk:
    """A connection whose client is encrypted here."""

    def __init__(self, authority: Authority, version: ssl.TLSVersion) -> None:
        tls, context = Tls(authority.files()), authority.context()
        assert tls.open is not None
        context.maximum_version = version
        incoming, self._outgoing, self.above = ssl.MemoryBIO(), ssl.MemoryBIO(), Above()
        self.client = context.wrap_bio(incoming, self._outgoing, server_hostname=HOST)
        self._server = Secured(cast("Stream", self.above), Port(tls.open))
        self._server.connection_made(Wire(incoming))

    def deliver(self, size: int) -> None:
        """Hand over what the client has encrypted, in pieces."""
        encrypted = self._outgoing.read()
        for begin in range(0, len(encrypted), size):
            self._server.data_received(encrypted[begin : begin + size])

    async def begin(self, size: int) -> None:
        def shaken() -> bool:
            with contextlib.suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
            self.deliver(size)
            return self._server.get_extra_info("peer", self) is None  # nobody is asked for a certificate

        await until(shaken)


@pytest.mark.parametrize("size", [1, 5, 21, 117, 16_405, 16_406, 16_407, 1 << 20])
@pytest.mark.parametrize("version", VERSIONS)
async def test_every_complete_record_is_handed_up_however_it_is_cut(
    tmp_path: Path, version: ssl.TLSVersion, size: int
) -> None:
    talk = Talk(Authority(tmp_path), version)
    await talk.begin(size)
    for together in (False, True):
        talk.above.content = b""
        for count, part in enumerate(PARTS, 1):
            talk.client.write(part)
            if not together:
                talk.deliver(size)
                await until(partial(talk.above.holds, PARTS[:count]))
        talk.deliver(size)
        await until(partial(talk.above.holds, PARTS))


@pytest.mark.parametrize("version", VERSIONS)
async def test_many_small_records_are_decrypted_in_turns(tmp_path: Path, version: ssl.TLSVersion) -> None:
    talk = Talk(Authority(tmp_path), version)
    await talk.begin(1 << 20)
    for _ in range(5000):
        talk.client.write(b"x")
    talk.deliver(1 << 20)
    await until(partial(talk.above.holds, [b"x"] * 5000))
    assert max(talk.above.sizes) < 100
