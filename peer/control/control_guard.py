"""The form of the control API's answers, and the guards of ATTACKS A36 before every route."""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from peer.errors import AccessRefused, PeerError, UsageError


def answer_of(content: Mapping[str, Any], status: int, media_type: str) -> Response:
    """JSON that nobody keeps, and no browser takes for anything else."""
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(json.dumps(content), status, headers, media_type)


def unless_known(answer: Response, known: str | None) -> Response:
    """The answer with its ETag, or 304 for who has it already (RFC 9110, 13.1.2)."""
    tag = tag_of(bytes(answer.body))
    if known == tag:
        return Response(status_code=304, headers={"ETag": tag})
    answer.headers["ETag"] = tag
    return answer


def tag_of(body: bytes) -> str:
    """The ETag of an answer: equal for equal ones."""
    return f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'


def problem(error: PeerError, status: int | None = None) -> Response:
    """The error as a problem document (RFC 9457)."""
    content = {
        "type": "about:blank",
        "title": error.sentence(),
        "status": status or error.http_status,
        "detail": str(error),
        "code": error.code,
        "exit_code": error.exit_code,
    }
    return answer_of(content, status or error.http_status, "application/problem+json")


def _is_local(authority: str) -> bool:
    """Whether a Host names this machine by a name that no DNS server can point elsewhere."""
    host, colon, port = authority.rpartition(":")
    if not colon or not port.isdecimal():
        host = authority
    return host.lower() in ("localhost", "127.0.0.1", "[::1]")


class Guard:
    """The checks of ATTACKS A36, before every route and before those that do not exist."""

    def __init__(
        self, app: ASGIApp, token: str, accepts: Callable[[bytes], bool] = lambda token: False
    ) -> None:
        """`accepts`: whether another token than the home's was given to somebody."""
        self._app, self._accepts = app, accepts
        self._authorization = f"Bearer {token}".encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with what is wrong with it."""
        app = self._app
        if scope["type"] == "http":
            app = self._refusal(scope) or app
        await app(scope, receive, send)

    @staticmethod
    def _media_type(scope: Scope) -> str:
        """What the request has to be of; never what a form of another site can send."""
        is_put = scope["method"] == "PUT" and scope["path"].startswith("/api/files/")
        is_file = is_put or scope["path"] == "/api/files/upload"
        return "application/octet-stream" if is_file else "application/json"

    def _refusal(self, scope: Scope) -> Response | None:
        names = [name for name, _ in scope["headers"]]
        headers = dict(scope["headers"])
        if names.count(b"host") != 1 or not _is_local(headers[b"host"].decode("latin-1")):
            return problem(AccessRefused("The request names another host than this machine."))
        origin = headers.get(b"origin")
        if origin is not None and origin != b"http://" + headers[b"host"]:
            return problem(AccessRefused("The request comes from a page of another origin."))
        if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
            return problem(AccessRefused("The request comes from a page of another site."))
        given = headers.get(b"authorization", b"")
        is_known = hmac.compare_digest(given, self._authorization)
        if not is_known and not self._accepts(given.removeprefix(b"Bearer ")):
            refused = problem(AccessRefused("The request carries no valid token."), 401)
            refused.headers["WWW-Authenticate"] = "Bearer"
            return refused
        if scope["method"] not in ("GET", "HEAD"):
            media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
            wanted = self._media_type(scope)
            if media_type != wanted.encode():
                return problem(UsageError(f"The request's content has to be {wanted}."), 415)
        return None
