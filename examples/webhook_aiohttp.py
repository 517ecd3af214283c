"""An aiohttp.web service that receives the results of Add-ons.

    PUBLIC_URL=https://example.com TWILIO_AUTH_TOKEN=... PORT=8080 python webhook_aiohttp.py

Set https://example.com/add-ons as the `callback_url` of a recording Add-on, or as the webhook of a
phone number. TWILIO_AUTH_TOKEN may hold two tokens, separated by a comma, while you rotate them.
"""

import logging
import os
from urllib.parse import parse_qs

from aiohttp import web

from marketplace_async import Secret, WebhookError, webhooks

# The scheme and host that Twilio sees. Behind a proxy, those of a request are others.
PUBLIC_URL = os.environ["PUBLIC_URL"]
AUTH_TOKENS = [Secret(token) for token in os.environ["TWILIO_AUTH_TOKEN"].split(",")]

log = logging.getLogger(__name__)


async def add_ons(request: web.Request) -> web.Response:
    body = await request.read()
    try:
        webhooks.verify(
            # As it arrived: `request.url` is normalized.
            url=request.raw_path,
            public_url=PUBLIC_URL,
            body=body,
            signature=request.headers.get("X-Twilio-Signature"),
            auth_token=AUTH_TOKENS,
        )
    except WebhookError as error:
        raise web.HTTPForbidden(text=str(error)) from None
    form = parse_qs(body.decode(), keep_blank_values=True)
    try:
        results = webhooks.parse_add_ons(form.get("AddOns", [""])[0])
    except WebhookError as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    for name, result in (results.results or {}).items():
        if result.ok:
            urls = [payload.url for payload in result.payload or ()]
            log.info("%s: %s", name, result.result or urls)
        else:
            log.warning("%s: %s, %s %s", name, result.status, result.code, result.message)
    return web.Response(status=204)


def application() -> web.Application:
    app = web.Application()
    app.router.add_post("/add-ons", add_ons)
    return app


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    web.run_app(application(), port=int(os.environ.get("PORT", "8080")), print=None)
