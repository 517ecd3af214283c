"""A Starlette service over one client: `uvicorn --app-dir examples starlette_app:app`."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from error_responses import HANDLED, arguments_of_the_caller, response_to
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from marketplace_async import MarketplaceClient, Retry, to_json

log = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    async with MarketplaceClient.from_env(timeout=8.0) as client:
        yield {"marketplace": client}  # becomes `request.state.marketplace`


def record_response(record: object, status: int = 200) -> Response:
    return Response(to_json(record), status, media_type="application/json")


async def list_add_ons(request: Request) -> Response:
    client: MarketplaceClient = request.state.marketplace
    return record_response(await client.installed_add_ons.list(limit=100).collect())


async def fetch_add_on(request: Request) -> Response:
    client: MarketplaceClient = request.state.marketplace
    with arguments_of_the_caller():
        return record_response(await client.installed_add_ons.fetch(request.path_params["sid"]))


async def install_add_on(request: Request) -> Response:
    client: MarketplaceClient = request.state.marketplace
    with arguments_of_the_caller():
        new = await request.json()
        installed = await client.installed_add_ons.create(**new, accept_terms_of_service=True)
    return record_response(installed, 201)


async def health(request: Request) -> Response:
    client: MarketplaceClient = request.state.marketplace
    impatient = client.with_options(deadline=2.0, retry=Retry(attempts=1))
    await impatient.available_add_ons.list(limit=1).first()
    return JSONResponse({"status": "ok"})


async def failed(request: Request, error: Exception) -> Response:
    log.warning("%s %s: %s", request.method, request.url.path, error)
    status, document, headers = response_to(error)
    return JSONResponse(document, status, headers)


app = Starlette(
    routes=[
        Route("/add-ons", list_add_ons),
        Route("/add-ons", install_add_on, methods=["POST"]),
        Route("/add-ons/{sid}", fetch_add_on),
        Route("/health", health),
    ],
    exception_handlers=dict.fromkeys(HANDLED, failed),
    lifespan=lifespan,
)
