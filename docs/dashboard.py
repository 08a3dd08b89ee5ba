"""Make docs/dashboard.png: the dashboard of a lab after a takeover and with a cut link. Needs chromium.

python -m docs.dashboard
"""

import asyncio
import base64
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx
from yarl import URL

from hanas_lab.cluster import Lab

PICTURE = Path(__file__).with_suffix(".png")
WIDTH_PIXELS = 1280
_HEIGHT = "document.querySelector('#member-rows tr') ? document.documentElement.scrollHeight : 0"
_PATIENCE_SECONDS = 30.0
_KEYS = 240


async def _until(http: httpx.AsyncClient, holds: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until the cluster document fulfils a condition."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while True:
            if holds((await http.get("/v1/cluster")).json()):
                return
            await asyncio.sleep(0.1)


async def make(chromium: str) -> None:
    """Start a lab, kill its main, cut a link, and take the picture."""
    with tempfile.TemporaryDirectory(prefix="hanas-dashboard-") as directory:
        async with Lab(Path(directory), 3, overseer_port=0, first_port=0) as lab:
            async with httpx.AsyncClient(base_url=lab.overseer_url, trust_env=False) as http:
                await _until(http, lambda found: _serves(found, 1) and _healthy(found) == 3)
                first = await _main(http)
                for number in range(_KEYS):
                    await http.put(f"{lab.urls[first]}/v1/kv/orders/{number}", content=b"an order")
                await lab.kill(first)
                await _until(http, lambda found: _serves(found, 2))
                await lab.start_worker(first)
                await _until(http, lambda found: _healthy(found) == 3)
                main = await _main(http)
                lab.cut(main, next(name for name in lab.urls if name not in {main, first}))
                await _until(http, _link_failed)
            await _shoot(chromium, lab.overseer_url, f"{directory}/chromium")


async def _main(http: httpx.AsyncClient) -> str:
    return str((await http.get("/v1/main")).json()["main"]["member"])


def _serves(cluster: dict[str, Any], epoch: int) -> bool:
    return bool(cluster["epoch"] >= epoch and cluster["main"]["state"] == "serving")


def _healthy(cluster: dict[str, Any]) -> int:
    return sum(member["alive"] and member["verdict"] == "Healthy" for member in cluster["members"])


def _link_failed(cluster: dict[str, Any]) -> bool:
    return any(link["state"] == "failed" and link["sinceSeconds"] > 8 for link in cluster["links"])


async def _shoot(chromium: str, url: str, profile: str) -> None:
    """Let chromium show the page, and take its picture once the cluster is on it (DevTools protocol)."""
    process = await asyncio.create_subprocess_exec(
        *(chromium, "--headless", "--no-sandbox", "--hide-scrollbars", "--remote-debugging-port=0"),
        *(f"--window-size={WIDTH_PIXELS},800", f"--user-data-dir={profile}", "about:blank"),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS), aiohttp.ClientSession() as session:
            async for line in process.stderr:
                if line.startswith(b"DevTools listening on "):
                    browser = URL(line.split()[-1].decode())
                    break
            else:
                raise SystemExit("chromium does not listen")
            async with session.get(browser.with_scheme("http").with_path("/json/list")) as answer:
                (page,) = [one for one in await answer.json() if one["type"] == "page"]
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                await _call(socket, "Page.navigate", url=url)
                height = 0
                while not height:
                    await asyncio.sleep(0.2)
                    result = await _call(socket, "Runtime.evaluate", expression=_HEIGHT)
                    height = result["result"]["value"]
                clip = {"x": 0, "y": 0, "width": WIDTH_PIXELS, "height": height, "scale": 1}
                taken = await _call(socket, "Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
    finally:
        process.terminate()
        await process.wait()
    PICTURE.write_bytes(base64.b64decode(taken["data"]))


async def _call(socket: aiohttp.ClientWebSocketResponse, method: str, **parameters: Any) -> dict[str, Any]:
    await socket.send_json({"id": 1, "method": method, "params": parameters})
    while "id" not in (answer := await socket.receive_json()):
        pass
    found: dict[str, Any] = answer["result"]
    return found


def main() -> None:
    """Make the picture with the chromium of $CHROMIUM, or that in PATH."""
    chromium = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if chromium is None:
        sys.exit("there is no chromium here (PATH, $CHROMIUM)")
    asyncio.run(make(chromium))


if __name__ == "__main__":
    main()
