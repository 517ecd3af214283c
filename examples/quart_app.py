"""A Quart service over one client: `uvicorn --app-dir examples quart_app:app`."""

from collections.abc import AsyncGenerator

from error_responses import HANDLED, arguments_of_the_caller, response_to
from quart import Quart, Response, request
from quart.typing import ResponseReturnValue

from marketplace_async import MarketplaceClient, Retry, to_json

app = Quart(__name__)


@app.while_serving
async def lifespan() -> AsyncGenerator[None, None]:
    async with MarketplaceClient.from_env(timeout=8.0) as client:
        app.extensions["marketplace"] = client
        yield


def marketplace() -> MarketplaceClient:
    client: MarketplaceClient = app.extensions["marketplace"]
    return client


def record_response(record: object, status: int = 200) -> Response:
    return Response(to_json(record), status, mimetype="application/json")


@app.get("/add-ons")
async def list_add_ons() -> ResponseReturnValue:
    return record_response(await marketplace().installed_add_ons.list(limit=100).collect())


@app.get("/add-ons/<sid>")
async def fetch_add_on(sid: str) -> ResponseReturnValue:
    with arguments_of_the_caller():
        return record_response(await marketplace().installed_add_ons.fetch(sid))


@app.post("/add-ons")
async def install_add_on() -> ResponseReturnValue:
    new = await request.get_json()
    with arguments_of_the_caller():
        installed = await marketplace().installed_add_ons.create(
            **new, accept_terms_of_service=True
        )
    return record_response(installed, 201)


@app.get("/health")
async def health() -> ResponseReturnValue:
    impatient = marketplace().with_options(deadline=2.0, retry=Retry(attempts=1))
    await impatient.available_add_ons.list(limit=1).first()
    return {"status": "ok"}


async def failed(error: Exception) -> ResponseReturnValue:
    app.logger.warning("%s %s: %s", request.method, request.path, error)
    status, document, headers = response_to(error)
    return document, status, headers


for each in HANDLED:
    app.register_error_handler(each, failed)
