"""The asyncio-first Python SDK for Twilio's Marketplace v1 API.

Start with `MarketplaceClient`. `marketplace_async.errors` shows the tree of exceptions.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 (a checkout can be imported without pip)
    raise ImportError(
        "marketplace_async needs Python 3.11 or later; this is Python "
        + ".".join(map(str, sys.version_info[:3]))
    )
del sys

TYPE_CHECKING = False  # importing it from typing would slow down `marketplace-async --version`

if TYPE_CHECKING:
    from . import errors as errors
    from ._public import *  # noqa: F403
else:

    def __getattr__(name):
        """Import all public names when the first one is used.

        The command line prints its version and its help without them. Importing them, and with
        them aiohttp, would take several times as long.
        """
        if name in ("__all__", "__version__") or not name.startswith("_"):
            from . import _public

            for each in ("__all__", *_public.__all__):
                globals()[each] = getattr(_public, each)
            if name in globals():  # a public name, or a module that was imported with them
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__getattr__("__all__")})
