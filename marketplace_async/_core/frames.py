"""Frames: keeps secrets out of the local variables that a traceback shows."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def hide_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """Raise the errors of a function from a frame without local variables.

    Sentry and rich record the local variables of every frame of a traceback. For a function that
    takes secrets, its own frames are dropped from the traceback: the message says what is wrong.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised below
            failure = error
        del args, kwargs
        failure.__cause__ = failure.__context__ = None
        try:
            raise failure.with_traceback(None)
        finally:
            # The traceback of the error refers to this frame.
            del failure

    return call


def hide_init_arguments(cls: type[T]) -> type[T]:
    """Apply `hide_arguments` to the constructor of a class."""
    cls.__init__ = hide_arguments(cls.__init__)  # type: ignore[method-assign]
    return cls
