"""A whole cluster over TLS whose processes show certificates, as `hanas lab --tls` runs it."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from hanas_client import certificate_directory
from hanas_client.errors import HanasError, Refused
from hanas_lab import Lab
from hanas_lab.identities import CLIENT, DAYS, Identities
from tests.integration.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"), 3, overseer_port=0, first_port=0, tls=True, patience=PATIENCE_SECONDS)
    async with lab:
        yield lab


def identities(lab: Lab) -> Identities:
    assert lab.identities is not None
    return lab.identities


def http(lab: Lab, name: str = CLIENT) -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=identities(lab).calling(name), trust_env=False, timeout=PATIENCE_SECONDS)


async def main_of(lab: Lab) -> str:
    """The main, once there is one."""
    return await eventually(lab.main)


async def test_values_are_written_and_read_and_the_state_is_shown(lab: Lab) -> None:
    async with lab.client() as client, http(lab) as asking:
        await client.put("a", b"1")
        assert (await client.get("a")).value == b"1"
        for url in lab.urls.values():
            assert url.startswith("https://")
            status = (await asking.get(f"{url}/v1/status")).json()
            assert status["tls"]["on"]
            assert status["tls"]["clientCertificates"]
            assert status["tls"]["expirySeconds"] > 0
            assert status["overseerReachable"]
        metrics = (await asking.get(f"{lab.overseer_url}/metrics")).text
        assert "hanas_tls 1.0" in metrics
        assert "hanas_certificate_expiry_seconds " in metrics


async def test_every_port_asks_for_a_certificate(lab: Lab) -> None:
    trust = identities(lab).files(CLIENT).trust
    context = ssl.create_default_context(cafile=trust)
    async with httpx.AsyncClient(verify=context, trust_env=False, timeout=PATIENCE_SECONDS) as asking:
        for url in lab.urls.values():
            assert (await asking.get(f"{url}/v1/kv/a")).status_code == 401
            assert (await asking.get(f"{url}/v1/status")).status_code == 401
            assert (await asking.get(f"{url}/healthz")).status_code == 200
        assert (await asking.get(f"{lab.overseer_url}/v1/cluster")).status_code == 401
        assert (await asking.post(f"{lab.overseer_url}/v1/claim", json={})).status_code == 401
        for worker in lab.status()["workers"]:
            with pytest.raises((httpx.TransportError, ssl.SSLError)):
                await asking.get(f"https://127.0.0.1:{worker['linkPort']}/v1/lifeline")
    async with http(lab) as asking:
        assert (await asking.delete(f"{lab.overseer_url}/v1/pool/nobody")).status_code == 403
        assert (await asking.post(f"{lab.overseer_url}/v1/claim", json={})).status_code == 401
    async with http(lab, "overseer") as asking:
        assert (await asking.delete(f"{lab.overseer_url}/v1/pool/nobody")).status_code == 404


async def test_no_port_speaks_to_who_has_a_wrong_certificate_or_is_called_otherwise(lab: Lab, tmp_path: Path) -> None:
    """Each port of each process; and that a client leaves where it does not trust the server."""
    directory = lab.directory / "certificates"
    certificate_directory.add(directory, ("late",), (), (), -0.001)
    certificate_directory.create(tmp_path, ("worker-1",), (), (), DAYS)
    trust = identities(lab).files(CLIENT).trust
    urls = [lab.overseer_url, *lab.urls.values()]
    ports = [int(url.rsplit(":", 1)[1]) for url in urls] + [int(each["linkPort"]) for each in lab.status()["workers"]]
    other = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    refused = (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)
    for port in ports:
        for pair in (directory / "late", tmp_path / "worker-1"):
            context = ssl.create_default_context(cafile=trust)
            context.load_cert_chain(f"{pair}.crt", f"{pair}.key")
            with pytest.raises(refused):
                await healthy(port, context)
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await healthy(port, identities(lab).calling("worker-2"), "elsewhere.test")
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
            await healthy(port, other)
        await healthy(port, identities(lab).calling("worker-2"))


async def healthy(port: int, context: ssl.SSLContext, name: str = "localhost") -> None:
    """Have a port answer anything."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.transport.abort()


async def test_a_takeover_needs_no_more_than_without(lab: Lab) -> None:
    main = await main_of(lab)
    async with lab.client() as client:
        await client.put("b", b"before")
        await lab.kill(main)
        await client.put("b", b"after")
        assert (await client.get("b")).value == b"after"
    assert await main_of(lab) != main
    await lab.start_worker(main)


async def test_a_cut_link_is_seen_through_tls(lab: Lab) -> None:
    main = await main_of(lab)
    other = next(name for name in lab.urls if name != main)
    lab.cut(main, other)

    async def verdict_is(verdict: str) -> bool:
        async with http(lab) as asking:
            return bool((await asking.get(f"{lab.urls[other]}/v1/status")).json()["verdict"] == verdict)

    await eventually(lambda: verdict_is("LinkFailed"))
    lab.heal(main, other)
    await eventually(lambda: verdict_is("Healthy"))
    assert await main_of(lab) == main


@pytest.mark.long
async def test_certificates_change_under_load_without_a_failed_request(lab: Lab) -> None:
    failures: list[str] = []
    count, going = 0, True
    epoch_before = await epoch(lab)

    async def work(worker: int) -> None:
        """Write on connections that are kept, and on new ones."""
        nonlocal count
        while going:
            async with lab.client() as client:
                for number in range(10):
                    try:
                        await client.put(f"load/{worker}", b"%d" % number)
                        count += 1
                    except HanasError as error:
                        failures.append(str(error))

    async def counts(least: int) -> bool:
        return count >= least

    workers = [asyncio.create_task(work(worker)) for worker in range(3)]
    for _ in range(2):
        serials = await serials_of(lab)
        await asyncio.to_thread(identities(lab).renew)
        await eventually(partial(shows_others, lab, serials))
        await eventually(partial(counts, count + 30))
    going = False
    await asyncio.gather(*workers)
    assert failures == []
    assert await epoch(lab) == epoch_before


async def serials_of(lab: Lab) -> dict[str, str]:
    """The number of the certificate that each worker shows."""
    serials = {}
    for name, url in lab.urls.items():
        context = identities(lab).calling(CLIENT)
        host, port = url.removeprefix("https://").split(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=context)
        certificate = writer.get_extra_info("peercert")
        serials[name] = certificate["serialNumber"]
        writer.close()
        await writer.wait_closed()
    return serials


async def shows_others(lab: Lab, before: dict[str, str]) -> bool:
    after = await serials_of(lab)
    return all(after[name] != before[name] for name in before)


async def epoch(lab: Lab) -> int:
    async with http(lab) as asking:
        return int((await asking.get(f"{lab.overseer_url}/v1/main")).json()["epoch"])


@pytest.mark.parametrize(
    ("options", "works"),
    [
        (("-tls1_3",), True),
        (("-tls1_2",), True),
        (("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), False),
        (("-tls1", "-cipher", "ALL:@SECLEVEL=0"), False),
        (("-tls1_2", "-cipher", "AES128-GCM-SHA256:@SECLEVEL=0"), False),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0"), False),
        (("-tls1_2", "-cipher", "NULL:@SECLEVEL=0"), False),
    ],
)
async def test_openssl_connects_with_modern_versions_and_ciphers_only(
    lab: Lab, options: tuple[str, ...], *, works: bool
) -> None:
    ports = [int(worker["linkPort"]) for worker in lab.status()["workers"][:1]]
    ports += [int(url.rsplit(":", 1)[1]) for url in (lab.overseer_url, lab.urls["worker-1"])]
    files = identities(lab).files("worker-2")
    for port in ports:
        shown = ["-cert", str(files.certificate), "-key", str(files.key), "-CAfile", str(files.trust)]
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *shown, "-verify_return_error", *options]
        done = await asyncio.to_thread(
            subprocess.run, command, input=b"", capture_output=True, timeout=PATIENCE_SECONDS, check=False
        )
        assert (done.returncode == 0) is works, done.stderr


async def test_curl_is_answered(lab: Lab, tmp_path: Path) -> None:
    assert shutil.which("curl") is not None
    files, target = identities(lab).files(CLIENT), tmp_path / "answer"
    url = f"{lab.urls[await main_of(lab)]}/v1/kv/a"
    command = ["curl", "--silent", "--fail", "--output", str(target), "--cacert", str(files.trust), url]
    shown = ["--cert", str(files.certificate), "--key", str(files.key)]
    done = await asyncio.to_thread(subprocess.run, [*command, *shown], timeout=PATIENCE_SECONDS, check=False)
    assert (done.returncode, target.read_bytes()) == (0, b"1")
    refused = await asyncio.to_thread(subprocess.run, command, timeout=PATIENCE_SECONDS, check=False)
    assert refused.returncode == 22


CLIENTS = f"""
principals:
- name: web
  certificates: [CN={CLIENT}]
  grants:
  - {{prefix: web/, roles: [writer]}}
  - {{rights: [observe]}}
"""


@pytest.mark.long
async def test_a_file_of_clients_says_what_a_certificate_permits(tmp_path: Path) -> None:
    """There is no secret: components are known by their certificates, which the file does not name."""
    (tmp_path / "clients.yaml").write_text(CLIENTS)
    settings = {"HANAS_CLIENTS_FILE": str(tmp_path / "clients.yaml")}
    lab = Lab(
        tmp_path / "lab", 2, overseer_port=0, first_port=0, environment=settings, tls=True, patience=PATIENCE_SECONDS
    )
    async with lab:
        certificate_directory.add(lab.directory / "certificates", (), ("other",), (), DAYS)
        async with lab.client() as web, lab.client(name="other") as other:
            await web.put("web/1", b"1")
            assert (await web.get("web/1")).value == b"1"
            for refused, words in (
                (web.put("b", b"2"), "web has no right to write"),
                (web.delete("b"), "web has no right to delete"),
                (other.get("web/1"), "CN=other has no right to"),
            ):
                with pytest.raises(Refused, match=words) as refusal:
                    await refused
                assert refusal.value.status == 403
        async with http(lab) as asking, http(lab, "other") as nobody, http(lab, "overseer") as component:
            for url in lab.urls.values():
                status = (await asking.get(f"{url}/v1/status")).json()
                assert status["notices"] == []
                for who, code in ((asking, 200), (nobody, 403), (component, 403)):
                    assert (await who.get(f"{url}/v1/kv/web/1?consistency=stale")).status_code == code
                assert (await component.get(f"{url}/v1/status")).status_code == 200
            assert "hanas-folder" not in (await nobody.get(f"{lab.overseer_url}/v1/main")).headers
            forget = f"{lab.overseer_url}/v1/pool/nobody"
            assert [(await who.delete(forget)).status_code for who in (asking, nobody, component)] == [403, 403, 404]
        main = await main_of(lab)
        await lab.kill(main)
        async with lab.client() as web:
            await web.put("web/1", b"3")
        assert await main_of(lab) != main
