"""Headers, the session's cookie and closed doors, around everything that the server answers."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

import streamlit
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.hub import COOKIE, Hub

# Streamlit's own upload route asks for no login and counts no bytes; the others are nobody's business.
CLOSED = ("/_stcore/upload_file", "/_stcore/metrics", "/_stcore/agent", "/_stcore/script-health-check")
OPEN_WITHOUT_USER = ("/_stcore/health",)  # for whoever watches that the server lives
FIXED_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), usb=(), payment=()",
}


def content_security_policy() -> str:
    """What the browser may load: only what comes from this server.

    `blob:` in script-src: Streamlit starts each component's script from one. Styles are set by its own
    scripts, hence 'unsafe-inline' there. Scripts inside its page are allowed by their hashes alone.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' blob: {' '.join(_inline_script_hashes())}",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "worker-src 'self' blob:",
            "manifest-src 'self'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


def _inline_script_hashes() -> Iterable[str]:
    page = (Path(streamlit.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    for script in re.findall(r"<script>(.*?)</script>", page, re.DOTALL):
        yield f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


class Guard:
    """ASGI middleware: refuses closed doors and strangers, sets the session's cookie and the headers."""

    def __init__(self, app: ASGIApp, hub: Hub) -> None:
        self.app, self.hub = app, hub
        self.policy = content_security_policy()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        path, headers = scope["path"], Headers(scope=scope)
        refused = self._refusal(path, headers)
        if refused is not None:
            await refused(scope, receive, self._dressed(send, None))
            return
        fresh = None if _cookie(headers) or scope["type"] == "websocket" else secrets.token_urlsafe(32)
        await self.app(scope, receive, self._dressed(send, fresh if path == "/" or "." not in path else None))

    def _refusal(self, path: str, headers: Headers) -> Response | None:
        if any(path.startswith(closed) for closed in CLOSED):
            return Response("Not found.", 404, media_type="text/plain")
        if not self._host_known(headers.get("host", "")):
            return Response("Unknown host.", 400, media_type="text/plain")
        if self.hub.settings.auth == "proxy" and path not in OPEN_WITHOUT_USER:
            user = headers.get(self.hub.settings.user_header)
            if self.hub.access.person(user) is None:
                return Response("Sign in first.", 401, media_type="text/plain")
        return None

    def _host_known(self, host: str) -> bool:
        """On loopback only local names: a foreign name that leads here is a trap (DNS rebinding)."""
        if self.hub.settings.auth != "none":
            return True  # the proxy in front decides which names lead here
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        return name in ("localhost", "127.0.0.1", "[::1]")

    def _dressed(self, send: Send, cookie: str | None) -> Send:
        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in FIXED_HEADERS.items():
                    headers[name] = value
                headers["Content-Security-Policy"] = self.policy
                if cookie:
                    headers.append("Set-Cookie", self._set_cookie(cookie))
            await send(message)

        return dressed

    def _set_cookie(self, value: str) -> str:
        secure = "" if self.hub.settings.auth == "none" else "; Secure"
        return f"{COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax{secure}"


def _cookie(headers: Headers) -> str | None:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel else None
