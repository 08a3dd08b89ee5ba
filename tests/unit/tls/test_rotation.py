"""Certificates and authorities change while connections are open: these go on, new ones see the new files."""

import asyncio
import ssl
from pathlib import Path

import msgspec
import pytest

from hanas_serving import tls
from hanas_serving.lanes import SystemThread
from hanas_serving.tls import Tls
from tests.unit.tls.pki import Authority
from tests.unit.tls.talking import GET, answer_of, asked, connected, listening
from tests.unit.waiting import meanwhile, until

BODY = b"GET /v1/kv/key "


async def test_an_authority_is_replaced_without_a_refused_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are trusted for a while, certificates are replaced, and the old authority goes."""
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.001)
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    trust = tmp_path / "trust"
    trust.write_bytes(old.pair.certificate)
    files = msgspec.structs.replace(old.files("server"), client_trust=trust)
    held = Tls(files)

    async def become(change: bytes | Authority) -> None:
        before = held.contexts
        if isinstance(change, bytes):
            trust.write_bytes(change)
        else:
            change.files("server")
        await until(lambda: held.contexts is not before)

    def client(of: Authority, name: str, trusts: Authority) -> ssl.SSLContext:
        return trusts.context(of.client(name))

    refused = (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)
    async with (
        meanwhile(held.keep(SystemThread)),
        listening(held, strict=True) as port,
        connected(port, client(old, "kept", old)) as (reader, writer),
    ):

        async def goes_on() -> None:
            writer.write(GET)
            assert (await answer_of(reader))[1] == BODY

        await goes_on()
        with pytest.raises(refused):
            await asked(port, client(new, "early", old))
        await become(old.pair.certificate + new.pair.certificate)
        await goes_on()
        for authority in (old, new):
            assert await asked(port, client(authority, "between", old)) == BODY
        await become(new)
        await goes_on()
        for authority in (old, new):
            assert await asked(port, client(authority, "between", new)) == BODY
        await become(new.pair.certificate)
        await goes_on()
        with pytest.raises(refused):
            await asked(port, client(old, "late", new))
        assert await asked(port, client(new, "late", new)) == BODY
