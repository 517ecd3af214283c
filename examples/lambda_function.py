"""AWS Lambda: one client over many invocations. The handler is `lambda_function.handler`.

A client belongs to one event loop, so all invocations run in the same one. The client opens
connections when it is first used, and keeps them until Lambda ends the environment.
"""

import asyncio
import json
from typing import Any

from marketplace_async import MarketplaceClient, MarketplaceError, to_json

runner = asyncio.Runner()
client = MarketplaceClient.from_env()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    seconds_left = context.get_remaining_time_in_millis() / 1000
    return runner.run(respond(event, deadline=max(0.1, seconds_left - 0.5)))


async def respond(event: dict[str, Any], *, deadline: float) -> dict[str, Any]:
    impatient = client.with_options(deadline=deadline)
    try:
        installed = await impatient.installed_add_ons.list(limit=100).collect()
    except MarketplaceError as error:
        print(error)  # goes to CloudWatch
        return _response(502, json.dumps({"error": "Twilio did not respond as expected"}))
    return _response(200, to_json(installed).decode())


def _response(status: int, body: str) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json"},
        "body": body,
    }
