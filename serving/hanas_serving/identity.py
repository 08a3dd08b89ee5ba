"""The header ``HANas-Folder``: which folder answers, and for which one a request is meant.

An address may come to belong to another cluster, or to a copy of this one. So every answer names the folder, to
callers who may know it, and a request that names another one is refused before anything is done.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hanas_serving import principals
from hanas_serving.answers import STATUS_LINES, send_answer
from hanas_serving.callers import Callers
from hanas_serving.principals import Action
from hanas_serving.problems import Problem

HEADER = b"hanas-folder"
_UNIDENTIFIED = frozenset({401, 429})


def status_lines(folder_id: str) -> dict[int, bytes]:
    """Return the first lines of answers, with the header unless the answer is to a caller who is not known."""
    header = b"%b: %b\r\n" % (HEADER, folder_id.encode())
    return {status: line if status in _UNIDENTIFIED else line + header for status, line in STATUS_LINES.items()}


class Identified:
    """An ASGI application that serves a folder with an id."""

    def __init__(self, app: ASGIApp, folder_id: str, callers: Callers) -> None:
        """``callers``: of them those may know the id who may ask where the main is."""
        self._app = app
        self._folder = folder_id.encode()
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = scope["headers"]
        principal = self._callers.identify(dict(headers).get(b"authorization"), scope.get("peer"))
        known = principals.may(principal, Action.LOCATE)
        told = self._naming(send) if known else send
        meant = {value for name, value in headers if name == HEADER}
        if meant <= {self._folder}:
            await self._app(scope, receive, told)
        else:
            which = f"the cluster of the folder {self._folder.decode()}" if known else "another cluster"
            detail = f"this is {which}, not the one in HANas-Folder; nothing was done: look up the cluster's addresses"
            await send_answer(Problem(421, detail).answer(), told, bodiless=scope["method"] == "HEAD")

    def _naming(self, send: Send) -> Send:
        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (HEADER, self._folder)]
            await send(message)

        return send_on
