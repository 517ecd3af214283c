"""The inspector page: one self-contained HTML document."""

import asyncio
import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from aiohttp import web

_FOLDER: Final = Path(__file__).parent


async def render_page() -> web.Response:
    """Return the response with the page."""
    page, policy = await asyncio.to_thread(_load)
    return web.Response(
        body=page,
        content_type="text/html",
        charset="utf-8",
        headers={
            "Cache-Control": "no-store",
            "Content-Security-Policy": policy,
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        },
    )


@cache
def _load() -> tuple[bytes, str]:
    """Return the page and its content security policy, which permits nothing but its own parts."""
    html, css, tools, page_js = (
        (_FOLDER / name).read_text(encoding="utf-8")
        for name in ("index.html", "page.css", "tools.js", "page.js")
    )
    js = tools + page_js
    page = html.replace("/* page.css */", css).replace("/* script */", js)
    policy = (
        f"default-src 'none'; style-src '{_hash(css)}'; script-src '{_hash(js)}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return page.encode(), policy


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
