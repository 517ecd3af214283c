"""Django async views over one client: `uvicorn --app-dir examples django_app:application`.

Django has no hook for the start and the end of a server, so `application` serves the lifespan of
ASGI itself. In a project, put it into `asgi.py`, and views and middleware where they belong.
"""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import django
from asgiref.sync import markcoroutinefunction
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from error_responses import HANDLED, arguments_of_the_caller, response_to

from marketplace_async import MarketplaceClient, Retry, to_json

log = logging.getLogger(__name__)

if not settings.configured:  # a project has its settings in a module of their own
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1", "localhost"],
        MIDDLEWARE=[f"{__name__}.HandledErrors"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="made-up",
    )
    django.setup()

_clients: list[MarketplaceClient] = []


def marketplace() -> MarketplaceClient:
    return _clients[0]


def record_response(record: object, status: int = 200) -> HttpResponse:
    return HttpResponse(to_json(record), status=status, content_type="application/json")


async def add_ons(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return record_response(await marketplace().installed_add_ons.list(limit=100).collect())
    with arguments_of_the_caller():
        new = json.loads(request.body)
        installed = await marketplace().installed_add_ons.create(
            **new, accept_terms_of_service=True
        )
    return record_response(installed, 201)


async def add_on(request: HttpRequest, sid: str) -> HttpResponse:
    with arguments_of_the_caller():
        return record_response(await marketplace().installed_add_ons.fetch(sid))


async def health(request: HttpRequest) -> HttpResponse:
    impatient = marketplace().with_options(deadline=2.0, retry=Retry(attempts=1))
    await impatient.available_add_ons.list(limit=1).first()
    return JsonResponse({"status": "ok"})


urlpatterns = [
    path("add-ons", add_ons),
    path("add-ons/<str:sid>", add_on),
    path("health", health),
]


class HandledErrors:
    """Turns the errors of the client into responses."""

    async_capable = True
    sync_capable = False

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponse]]) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        return await self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, HANDLED):
            return None
        log.warning("%s %s: %s", request.method, request.path, error)
        status, document, headers = response_to(error)
        return JsonResponse(document, status=status, headers=headers)


_django = get_asgi_application()


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "lifespan":
        await _django(scope, receive, send)
        return
    await receive()  # the server starts
    async with MarketplaceClient.from_env(timeout=8.0) as client:
        _clients.append(client)
        await send({"type": "lifespan.startup.complete"})
        await receive()  # the server has finished its requests
        _clients.remove(client)
    await send({"type": "lifespan.shutdown.complete"})
