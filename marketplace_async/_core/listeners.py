"""Calls what users pass in to be told something: observers, progress objects and log handlers."""

import asyncio
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar, cast

T = TypeVar("T")


def guarded(listener: T, methods: Iterable[str]) -> T:
    """Return a copy of a listener whose methods never raise.

    What a method raises is reported once, to the exception handler of the event loop. The methods
    of a listener return nothing.
    """
    return cast(T, _Guarded(listener, methods))


class _Guarded:
    def __init__(self, listener: object, methods: Iterable[str]) -> None:
        for name in methods:
            method = getattr(listener, name, None)
            if method is not None:
                where = f"{type(listener).__qualname__}.{name}"
                setattr(self, name, guarded_function(method, where))


def guarded_function(function: Callable[..., object], name: str) -> Callable[..., None]:
    """Return a function that calls another one, and never raises."""
    is_reported = False

    def call(*args: object) -> None:
        nonlocal is_reported
        try:
            function(*args)
        # A CancelledError would look like a cancellation of the call.
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - reported
            if not is_reported:
                is_reported = True
                _report(name, error)

    return call


def check_listeners(
    values: Iterable[T], name: str, kind: type[Any], methods: Iterable[str]
) -> tuple[T, ...]:
    """Return the listeners of an argument, or raise a TypeError that says what is wrong."""
    if not isinstance(values, Iterable) or isinstance(values, str | bytes):
        raise TypeError(f"{name}: expected a list of {kind.__name__}, got {type(values).__name__}")
    listeners = tuple(values)
    for each in listeners:
        what = f"{name}: expected an {kind.__name__}"
        if isinstance(each, type):
            raise TypeError(f"{what}, got the class {each.__name__}: pass an instance")
        for method in methods:
            function = getattr(each, method, None)
            if not callable(function):
                raise TypeError(
                    f"{what}, but {type(each).__name__} has no method {method}: "
                    f"subclass {kind.__name__}"
                )
            if inspect.iscoroutinefunction(function):
                raise TypeError(
                    f"{what}, but {type(each).__name__}.{method} is async: it must be a plain "
                    "function that returns immediately"
                )
    return listeners


def _report(name: str, error: BaseException) -> None:
    message = f"{name} raised {type(error).__name__}. The call goes on. This is reported once"
    try:
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": message, "exception": error})
    except Exception:  # noqa: BLE001 - the handler of the loop may fail as well, or write to the log
        if logging.raiseExceptions:
            with suppress(Exception):
                print(message, file=sys.stderr)
                traceback.print_exception(error)
