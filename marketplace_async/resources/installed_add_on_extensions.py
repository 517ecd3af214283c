"""The extensions of an installed Add-on: the places in Twilio's products where it can work."""

import attrs

from .._core.arguments import check_flag, check_sid
from .._core.codec import to
from .._core.cursor import Meta
from .._core.expectations import expecting, expecting_each
from .._core.messages import FORM, form, trusted_request
from .._core.operation import Call, Parse
from .._core.pagination import Listable
from .._core.records import Envelope, Record, absent
from .._core.serializable import Serializable


@attrs.frozen(kw_only=True, weakref_slot=False)
class InstalledAddOnExtension(Record, Serializable):
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
    installed_add_on_sid: str | None = attrs.field(factory=absent)
    enabled: bool | None = attrs.field(factory=absent)
    friendly_name: str | None = attrs.field(factory=absent)
    product_name: str | None = attrs.field(factory=absent)
    unique_name: str | None = attrs.field(factory=absent)
    url: str | None = attrs.field(factory=absent)


@attrs.frozen(eq=False, repr=False)
class _Page(Envelope):
    extensions: tuple[InstalledAddOnExtension, ...]
    meta: Meta = attrs.field(factory=Meta)


class InstalledAddOnExtensions(Listable[InstalledAddOnExtension]):
    """`client.installed_add_ons.extensions(sid)`: the extensions of one installed Add-on.

    See https://www.twilio.com/docs/marketplace/api/installed-add-ons-extensions
    """

    def __init__(self, call: Call, installed_add_on_sid: str) -> None:
        self._installed_add_on_sid = installed_add_on_sid
        super().__init__(
            call,
            f"/v1/InstalledAddOns/{installed_add_on_sid}/Extensions",
            expecting_each(to(_Page), _of_other_add_ons, installed_add_on_sid=installed_add_on_sid),
            "extensions",
            "installed_add_ons.extensions.list",
        )

    async def fetch(self, sid: str) -> InstalledAddOnExtension:
        """Fetch one extension.

        Args:
            sid: The SID of the extension, `XF...`.

        Raises:
            ValueError, TypeError: `sid` is not an extension SID. Nothing was sent.
            NotFoundError: The installed Add-on has no such extension.
            MarketplaceError: The request failed.
        """
        sid = check_sid("XF", sid, "sid")
        path = f"{self._path}/{sid}"
        request = trusted_request("GET", path, operation="installed_add_ons.extensions.fetch")
        return await self._call(request, self._expecting(sid))

    async def update(self, sid: str, *, enabled: bool) -> InstalledAddOnExtension:
        """Enable or disable an extension.

        Args:
            sid: The SID of the extension, `XF...`.
            enabled: Whether the Add-on is called there.

        Raises:
            ValueError, TypeError: An argument is invalid. Nothing was sent.
            NotFoundError: The installed Add-on has no such extension.
            UnusableResponseError: Something was changed, but the response does not confirm that it
                is this.
            MarketplaceError: The request failed.
        """
        sid = check_sid("XF", sid, "sid")
        enabled = check_flag(enabled, "enabled")
        request = trusted_request(
            "POST",
            f"{self._path}/{sid}",
            body=form(Enabled=enabled),
            content_type=FORM,
            repeat="always",
            operation="installed_add_ons.extensions.update",
        )
        return await self._call(request, self._expecting(sid, enabled))

    def _expecting(self, sid: str, enabled: bool | None = None) -> Parse[InstalledAddOnExtension]:
        return expecting(
            to(InstalledAddOnExtension),
            sid=sid,
            installed_add_on_sid=self._installed_add_on_sid,
            enabled=enabled,
        )


def _of_other_add_ons(page: _Page, sid: str) -> list[InstalledAddOnExtension]:
    return [record for record in page.extensions if record.installed_add_on_sid != sid]
