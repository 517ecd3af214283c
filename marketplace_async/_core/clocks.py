"""The clock that measures waits. It runs on where a test library stops the time.

freezegun replaces `time.monotonic` and every global variable that refers to it, in all modules. A
wait that is compared with a clock that stands still never ends.
"""

from collections.abc import Callable
from importlib.machinery import BuiltinImporter
from importlib.util import module_from_spec
from typing import Final


def _own_clock() -> Callable[[], float]:
    # Another copy of the module: the functions of `time` may be replaced by now.
    spec = BuiltinImporter.find_spec("time")
    assert spec is not None
    assert spec.loader is not None
    own = module_from_spec(spec)
    spec.loader.exec_module(own)
    clock: Callable[[], float] = own.perf_counter
    return clock


monotonic: Final = _own_clock()
"""Seconds of a clock that never goes back, with the best resolution that there is."""
