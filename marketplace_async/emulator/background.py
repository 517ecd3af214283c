"""Runs an asynchronous context manager in a thread with an event loop of its own."""

import asyncio
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from threading import Thread
from typing import Any


class Background:
    """A thread that enters a context manager, waits for `stop()`, and leaves it.

    Only `stop()` ends the thread. If the interpreter exits first, nothing waits for it.
    """

    def __init__(self, service: AbstractAsyncContextManager[Any], name: str) -> None:
        self._service = service
        self._entered: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._left: Future[None] = Future()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread, and wait until it has entered. Raises what entering raises."""
        self._thread.start()
        try:
            self._entered.result()
        except BaseException:
            # After an interrupt, the thread may enter nevertheless, or have entered.
            if not self._entered.cancel() and self._entered.exception() is None:
                self.stop()
            self._thread.join()
            raise

    def stop(self) -> None:
        """Leave, and wait until the thread has ended. Raises what leaving raises."""
        loop, stop = self._entered.result()
        loop.call_soon_threadsafe(stop.set)
        try:
            self._left.result()
        finally:
            self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits for it
            if self._entered.done():
                self._left.set_exception(error)
            elif self._entered.set_running_or_notify_cancel():
                self._entered.set_exception(error)
        else:
            self._left.set_result(None)

    async def _serve(self) -> None:
        async with self._service:
            stop = asyncio.Event()
            if self._entered.set_running_or_notify_cancel():
                self._entered.set_result((asyncio.get_running_loop(), stop))
                await stop.wait()
