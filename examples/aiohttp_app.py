"""An aiohttp.web service over one client: `python examples/aiohttp_app.py`."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web
from error_responses import HANDLED, arguments_of_the_caller, response_to

from marketplace_async import MarketplaceClient, Retry, to_json

MARKETPLACE = web.AppKey("marketplace", MarketplaceClient)
routes = web.RouteTableDef()


async def marketplace(app: web.Application) -> AsyncIterator[None]:
    async with MarketplaceClient.from_env(timeout=8.0) as client:
        app[MARKETPLACE] = client
        yield


def record_response(record: object, status: int = 200) -> web.Response:
    return web.Response(body=to_json(record), status=status, content_type="application/json")


@web.middleware
async def handled_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except HANDLED as error:
        request.app.logger.warning("%s %s: %s", request.method, request.path, error)
        status, document, headers = response_to(error)
        return web.json_response(document, status=status, headers=headers)


@routes.get("/add-ons")
async def list_add_ons(request: web.Request) -> web.Response:
    return record_response(
        await request.app[MARKETPLACE].installed_add_ons.list(limit=100).collect()
    )


@routes.get("/add-ons/{sid}")
async def fetch_add_on(request: web.Request) -> web.Response:
    add_ons = request.app[MARKETPLACE].installed_add_ons
    with arguments_of_the_caller():
        return record_response(await add_ons.fetch(request.match_info["sid"]))


@routes.post("/add-ons")
async def install_add_on(request: web.Request) -> web.Response:
    add_ons = request.app[MARKETPLACE].installed_add_ons
    with arguments_of_the_caller():
        new = await request.json()
        installed = await add_ons.create(**new, accept_terms_of_service=True)
    return record_response(installed, 201)


@routes.get("/health")
async def health(request: web.Request) -> web.Response:
    client = request.app[MARKETPLACE]
    impatient = client.with_options(deadline=2.0, retry=Retry(attempts=1))
    await impatient.available_add_ons.list(limit=1).first()
    return web.json_response({"status": "ok"})


app = web.Application(middlewares=[handled_errors])
app.cleanup_ctx.append(marketplace)
app.add_routes(routes)

if __name__ == "__main__":
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(os.environ.get("PORT", "8080")),
        handler_cancellation=True,  # cancel a call when its caller disconnects
        shutdown_timeout=10.0,  # on SIGTERM, let running calls finish
    )
