"""Add-ons and extensions, as a catalogue lists them."""

import hashlib
import re
from typing import Any, Final, Literal, TypeAlias

import attrs
import jsonschema_rs

Origin: TypeAlias = Literal["real", "made_up_sid", "made_up"]

_VISIBLE: Final = {"ga", "beta"}
_BILLABLE: Final = {"ga", "beta", "marketing_preview", "private_beta"}
_STAGES: Final = _VISIBLE | _BILLABLE | {"coming_soon", "developer_preview"}
_ORIGINS: Final = ("real", "made_up_sid", "made_up")


def _derived_sid(prefix: str, *parts: str) -> str:
    return prefix + hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]


def _check_sid(prefix: str, sid: str, name: str) -> None:
    if not isinstance(sid, str) or not re.fullmatch(f"{prefix}[0-9a-fA-F]{{32}}", sid):
        raise ValueError(f"{name}: must be {prefix} and 32 hex digits, got {sid!r}")


@attrs.frozen
class Extension:
    """A Twilio product feature that an Add-on can extend.

    Attributes:
        unique_name: Its unique name, such as "voice-incoming".
        friendly_name: Its display name, such as "Incoming Voice Call".
        product_name: The product, such as "Programmable Voice".
    """

    unique_name: str
    friendly_name: str
    product_name: str


@attrs.frozen(kw_only=True)
class AddOn:
    """An Add-on in the catalogue.

    Attributes:
        unique_name: The default unique name of an installation.
        friendly_name: The display name.
        description: What the Add-on does.
        sid: `XB` and 32 hex digits. Derived from the unique name by default.
        pricing_type: How the Add-on is charged.
        configuration_schema: The JSON Schema of its configuration.
        extensions: The product features that it can extend.
        stage: "ga", "beta", "marketing_preview", "private_beta", "coming_soon" or
            "developer_preview". Only "ga" and "beta" are visible.
        partner_account_sid: The only account that may report usage, for installations on any
            account. By default, each account reports its own.
        manual_usage: Whether usage may be reported through the API.
        billing_items: The SIDs of the accepted billing items. An item with another SID is not
            submitted. By default, any SID is accepted.
        origin: "real" if the Add-on exists under this SID at Twilio, "made_up_sid" if it exists
            under a SID that is not known, "made_up" if it exists nowhere else.

    Raises:
        ValueError: An attribute is invalid. The message names it.
    """

    unique_name: str
    friendly_name: str
    description: str = ""
    sid: str = ""
    pricing_type: str = "per request"
    configuration_schema: dict[str, Any] = attrs.field(
        factory=lambda: {"type": "object"}, hash=False
    )
    extensions: tuple[Extension, ...] = ()
    stage: str = "ga"
    partner_account_sid: str | None = None
    manual_usage: bool = True
    billing_items: tuple[str, ...] | None = None
    origin: Origin = "made_up"

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.unique_name, str) or not self.unique_name:
            raise ValueError(
                f"unique_name: must be text that is not empty, got {self.unique_name!r}"
            )
        for name in ("friendly_name", "description", "pricing_type"):
            if not isinstance(value := getattr(self, name), str):
                raise ValueError(f"{name}: must be text, got {value!r}")
        if not self.sid:
            object.__setattr__(self, "sid", _derived_sid("XB", self.unique_name))
        _check_sid("XB", self.sid, "sid")
        if self.partner_account_sid is not None:
            _check_sid("AC", self.partner_account_sid, "partner_account_sid")
        for index, sid in enumerate(self.billing_items or ()):
            _check_sid("BI", sid, f"billing_items[{index}]")
        if self.stage not in _STAGES:
            raise ValueError(f"stage: must be one of {sorted(_STAGES)}, got {self.stage!r}")
        if self.origin not in _ORIGINS:
            raise ValueError(f"origin: must be one of {_ORIGINS}, got {self.origin!r}")
        if len(self.extension_sids()) < len(self.extensions):
            names = [extension.unique_name for extension in self.extensions]
            raise ValueError(f"extensions: each needs a unique name of its own, got {names}")
        try:
            # Offline, so that a remote $ref is not fetched.
            jsonschema_rs.validator_for(self.configuration_schema, offline=True)
        except ValueError as error:
            text = str(error).split("\n")[0]
            raise ValueError(f"configuration_schema: not a JSON Schema: {text}") from None

    @property
    def visible(self) -> bool:
        return self.stage in _VISIBLE

    @property
    def billable(self) -> bool:
        return self.stage in _BILLABLE

    def extension_sids(self) -> dict[str, Extension]:
        """Return the extensions by their SIDs."""
        return {
            _derived_sid("XF", self.sid, extension.unique_name): extension
            for extension in self.extensions
        }
