"""A Litestar service over one client: `uvicorn --app-dir examples litestar_app:app`.

Handlers return records. A response class writes them; Litestar describes them in its OpenAPI schema
by their fields.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from error_responses import HANDLED, arguments_of_the_caller, response_to
from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State
from litestar.di import Provide

from marketplace_async import InstalledAddOn, MarketplaceClient, Retry, to_json

log = logging.getLogger(__name__)


class RecordResponse(Response[Any]):
    """Writes records, and everything else as Litestar does."""

    def render(self, content: Any, media_type: str, enc_hook: Any = None) -> bytes:
        try:
            return to_json(content)
        except TypeError:  # neither a record nor a list of them
            return super().render(content, media_type, enc_hook)


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    async with MarketplaceClient.from_env(timeout=8.0) as client:
        app.state.marketplace = client
        yield


async def marketplace(state: State) -> MarketplaceClient:
    client: MarketplaceClient = state.marketplace
    return client


@get("/add-ons")
async def list_add_ons(client: MarketplaceClient) -> list[InstalledAddOn]:
    return await client.installed_add_ons.list(limit=100).collect()


@get("/add-ons/{sid:str}")
async def fetch_add_on(sid: str, client: MarketplaceClient) -> InstalledAddOn:
    with arguments_of_the_caller():
        return await client.installed_add_ons.fetch(sid)


@post("/add-ons")
async def install_add_on(data: dict[str, Any], client: MarketplaceClient) -> InstalledAddOn:
    with arguments_of_the_caller():
        return await client.installed_add_ons.create(**data, accept_terms_of_service=True)


@get("/health")
async def health(client: MarketplaceClient) -> dict[str, str]:
    impatient = client.with_options(deadline=2.0, retry=Retry(attempts=1))
    await impatient.available_add_ons.list(limit=1).first()
    return {"status": "ok"}


def failed(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    log.warning("%s %s: %s", request.method, request.url.path, error)
    status, document, headers = response_to(error)
    return Response(document, status_code=status, headers=headers)


app = Litestar(
    route_handlers=[list_add_ons, fetch_add_on, install_add_on, health],
    dependencies={"client": Provide(marketplace)},
    exception_handlers=dict.fromkeys(HANDLED, failed),
    lifespan=[lifespan],
    response_class=RecordResponse,
)
