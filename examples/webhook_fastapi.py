"""A FastAPI service that receives the results of Add-ons.

    PUBLIC_URL=https://example.com TWILIO_AUTH_TOKEN=... uvicorn webhook_fastapi:app

Set https://example.com/add-ons as the `callback_url` of a recording Add-on, or as the webhook of a
phone number. TWILIO_AUTH_TOKEN may hold two tokens, separated by a comma, while you rotate them.
"""

import logging
import os
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends, FastAPI, HTTPException, Request

from marketplace_async import Secret, WebhookError, webhooks

# The scheme and host that Twilio sees. Behind a proxy, those of a request are others.
PUBLIC_URL = os.environ["PUBLIC_URL"]
AUTH_TOKENS = [Secret(token) for token in os.environ["TWILIO_AUTH_TOKEN"].split(",")]

# Bytes. To verify a larger body would keep the event loop busy, and anyone can send one.
MAX_BODY = 2**20

log = logging.getLogger("uvicorn.error")
app = FastAPI()


async def limited_body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"the body is larger than {MAX_BODY} bytes")
    return bytes(body)


async def verified_form(request: Request) -> dict[str, list[str]]:
    """Return the form of a request that Twilio signed."""
    body = await limited_body(request)
    try:
        webhooks.verify(
            url=str(request.url),
            public_url=PUBLIC_URL,
            body=body,
            signature=request.headers.get("X-Twilio-Signature"),
            auth_token=AUTH_TOKENS,
        )
    except WebhookError as error:
        raise HTTPException(403, str(error)) from None
    return parse_qs(body.decode(), keep_blank_values=True)


@app.post("/add-ons", status_code=204)
async def add_ons(form: Annotated[dict[str, list[str]], Depends(verified_form)]) -> None:
    try:
        results = webhooks.parse_add_ons(form.get("AddOns", [""])[0])
    except WebhookError as error:
        raise HTTPException(400, str(error)) from None
    for name, result in (results.results or {}).items():
        if result.ok:
            urls = [payload.url for payload in result.payload or ()]
            log.info("%s: %s", name, result.result or urls)
        else:
            log.warning("%s: %s, %s %s", name, result.status, result.code, result.message)
