"""The HTML pages of an inventory and of a plan: the part of the file before the records."""

import base64
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["inventory", "plan"]

_FOLDER: Final = Path(__file__).parent


def page_head(kind: Kind, created: datetime) -> bytes:
    """Return the page up to the script element that holds the records, one JSON object per line.

    The element stays open: the end of the file closes it. So the file is a complete page after each
    account, and a resumed job can append to it.
    """
    text = created.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return _template().replace("{{kind}}", kind).replace("{{created}}", text).encode()


def script_safe(data: bytes) -> bytes:
    """Escape JSON so that it cannot end the script element. Its meaning stays the same."""
    # In JSON, `<` only occurs within strings.
    return data.replace(b"<", b"\\u003c")


def records_in(file: Path) -> Iterator[bytes]:
    """Yield the records in a page, or in a JSON Lines file, as JSON."""
    is_page = file.suffix.lower() == ".html"
    with file.open("rb") as lines:
        for line in lines:
            if not is_page or line.startswith(b'{"account_sid":'):
                yield line


@cache
def _template() -> str:
    html, css, js = (
        (_FOLDER / name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css", "page.js")
    )
    policy = (
        f"default-src 'none'; style-src '{_hash(css)}'; script-src '{_hash(js)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    html = html.replace("{{policy}}", policy)
    return html.replace("/* page.css */", css).replace("/* page.js */", js)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
