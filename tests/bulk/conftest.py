import asyncio
import inspect
from collections.abc import AsyncIterator

import pytest


@pytest.fixture(autouse=True)
async def _no_bulk_task_is_left() -> AsyncIterator[None]:
    def bulk_tasks() -> list[asyncio.Task[object]]:
        return [
            task
            for task in asyncio.all_tasks()
            if inspect.iscoroutine(coroutine := task.get_coro())
            and "marketplace_async/bulk/" in coroutine.cr_code.co_filename
        ]

    yield
    assert not bulk_tasks()
