"""A FastAPI service over one client: `uvicorn --app-dir examples fastapi_app:app`.

Handlers return records as they are. FastAPI writes them, and describes them in its OpenAPI schema.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from error_responses import HANDLED, arguments_of_the_caller, response_to
from fastapi import Body, Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from marketplace_async import InstalledAddOn, MarketplaceClient, Retry

log = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    async with MarketplaceClient.from_env(timeout=8.0) as client:
        yield {"marketplace": client}  # becomes `request.state.marketplace`


def marketplace(request: Request) -> MarketplaceClient:
    client: MarketplaceClient = request.state.marketplace
    return client


Marketplace = Annotated[MarketplaceClient, Depends(marketplace)]
app = FastAPI(lifespan=lifespan)


async def failed(request: Request, error: Exception) -> JSONResponse:
    log.warning("%s %s: %s", request.method, request.url.path, error)
    status, document, headers = response_to(error)
    return JSONResponse(document, status, headers)


for each in HANDLED:
    app.add_exception_handler(each, failed)


class NewAddOn(BaseModel):
    available_add_on_sid: str
    unique_name: str
    configuration: dict[str, Any] = {}


@app.get("/add-ons")
async def list_add_ons(client: Marketplace) -> list[InstalledAddOn]:
    return await client.installed_add_ons.list(limit=100).collect()


@app.get("/add-ons/{sid}")
async def fetch_add_on(sid: str, client: Marketplace) -> InstalledAddOn:
    with arguments_of_the_caller():
        return await client.installed_add_ons.fetch(sid)


@app.post("/add-ons", status_code=201)
async def install_add_on(new: NewAddOn, client: Marketplace) -> InstalledAddOn:
    with arguments_of_the_caller():
        return await client.installed_add_ons.create(
            available_add_on_sid=new.available_add_on_sid,
            accept_terms_of_service=True,
            unique_name=new.unique_name,
            configuration=new.configuration,
        )


@app.put("/copy")
async def copy_add_on(record: Annotated[InstalledAddOn, Body()]) -> InstalledAddOn:
    """Records are request bodies, too."""
    return record


@app.get("/health")
async def health(client: Marketplace) -> dict[str, str]:
    impatient = client.with_options(deadline=2.0, retry=Retry(attempts=1))
    await impatient.available_add_ons.list(limit=1).first()
    return {"status": "ok"}
