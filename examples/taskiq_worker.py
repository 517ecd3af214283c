"""A taskiq worker over one client. The queue carries SIDs; the worker resolves the credentials.

    taskiq worker taskiq_worker:broker        # the worker
    python taskiq_worker.py AC... AC...       # sends a task for each subaccount

ZeroMQ needs no server. Any other broker of taskiq works in its place.
"""

import asyncio
import os
import sys
from typing import Annotated, Any

from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState, ZeroMQBroker

from marketplace_async import MarketplaceClient, to_dict

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"

address = f"tcp://127.0.0.1:{os.environ.get('PORT', '5555')}"
broker = ZeroMQBroker(zmq_pub_host=address, zmq_sub_host=address)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def startup(state: TaskiqState) -> None:
    state.marketplace = MarketplaceClient.from_env()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def shutdown(state: TaskiqState) -> None:
    await state.marketplace.aclose()


def marketplace(context: Annotated[Context, TaskiqDepends()]) -> MarketplaceClient:
    client: MarketplaceClient = context.state.marketplace
    return client


# A task may run twice, so it calls `ensure`.
@broker.task(task_name="ensure_spam_score")
async def ensure_spam_score(
    account_sid: str, parent: MarketplaceClient = TaskiqDepends(marketplace)
) -> dict[str, Any]:
    account = await parent.accounts.fetch(account_sid)
    ensured = await parent.with_account(account).installed_add_ons.ensure(
        unique_name="spam-score",
        available_add_on_sid=SPAM_SCORE,
        accept_terms_of_service=True,
    )
    print(account_sid, ensured.action, flush=True)
    return to_dict(ensured)  # for a result backend


async def main(account_sids: list[str]) -> None:
    await broker.startup()
    await asyncio.sleep(1)  # ZeroMQ drops what is sent before the workers are connected
    for sid in account_sids:
        await ensure_spam_score.kiq(sid)
    await asyncio.sleep(1)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
