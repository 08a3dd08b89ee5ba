"""The dashboard: one document that contains its styles and scripts, so that it needs no other address."""

import base64
import hashlib
from functools import cache
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

_SCRIPTS = ("ages.js", "topology.js", "tables.js", "live.js")


@cache
def page() -> tuple[bytes, dict[str, str]]:
    """Return the document and its headers, which allow only its own style and script, and requests to this overseer."""
    parts = resources.files("hanas_overseer") / "dashboard_parts"
    style = (parts / "style.css").read_text(encoding="utf-8")
    script = "".join((parts / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    html = (parts / "page.html").read_text(encoding="utf-8")
    content = html.replace("/*STYLE*/", style).replace("/*SCRIPT*/", script).encode()
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return content, {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


async def show(_: Request) -> Response:
    """``GET /``."""
    content, headers = page()
    return Response(content, headers=headers, media_type="text/html")
