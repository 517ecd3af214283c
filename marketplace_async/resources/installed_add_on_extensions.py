"""The extensions of an installed Add-on: the places in Twilio's products where it can work."""

import attrs

from .._core.arguments import check_flag, check_sid
from .._core.codec import to
from .._core.messages import FORM, Request, form
from .._core.operation import Call
from .._core.pagination import Listable, Meta


@attrs.frozen(kw_only=True)
class InstalledAddOnExtension:
    """An extension of an installed Add-on: a place in Twilio's products where it can work.

    Attributes:
        sid: `XF` and 32 hex digits.
        installed_add_on_sid: The installed Add-on, `XE...`.
        enabled: Whether the Add-on is called there. A new installation has no enabled extensions.
        friendly_name: A display name, such as "Incoming Voice Call".
        product_name: The product, such as "Programmable Voice".
        unique_name: A stable identifier, such as "voice-incoming".
        url: The absolute URL of this record.
    """

    sid: str
    installed_add_on_sid: str
    enabled: bool | None = None
    friendly_name: str | None = None
    product_name: str | None = None
    unique_name: str | None = None
    url: str | None = None


@attrs.frozen(eq=False, repr=False)
class _Page:
    extensions: tuple[InstalledAddOnExtension, ...]
    meta: Meta


class InstalledAddOnExtensions(Listable[InstalledAddOnExtension]):
    """`client.installed_add_ons.extensions(sid)`: the extensions of one installed Add-on.

    See https://www.twilio.com/docs/marketplace/api/installed-add-ons-extensions
    """

    def __init__(self, call: Call, installed_add_on_path: str) -> None:
        super().__init__(call, f"{installed_add_on_path}/Extensions", to(_Page), "extensions")

    async def fetch(self, sid: str) -> InstalledAddOnExtension:
        """Fetch one extension.

        Args:
            sid: The SID of the extension, `XF...`.

        Raises:
            ValueError, TypeError: `sid` is not an extension SID. Nothing was sent.
            NotFoundError: The installed Add-on has no such extension.
            MarketplaceError: The request failed.
        """
        request = Request("GET", f"{self._path}/{check_sid('XF', sid, 'sid')}")
        return await self._call(request, to(InstalledAddOnExtension))

    async def update(self, sid: str, *, enabled: bool) -> InstalledAddOnExtension:
        """Enable or disable an extension.

        Args:
            sid: The SID of the extension, `XF...`.
            enabled: Whether the Add-on is called there.

        Raises:
            ValueError, TypeError: An argument is invalid. Nothing was sent.
            NotFoundError: The installed Add-on has no such extension.
            MarketplaceError: The request failed.
        """
        path = f"{self._path}/{check_sid('XF', sid, 'sid')}"
        body = form(Enabled=check_flag(enabled, "enabled"))
        request = Request("POST", path, body=body, content_type=FORM, repeat="always")
        return await self._call(request, to(InstalledAddOnExtension))
