"""The catalogue of Add-ons: a built-in selection, or a file."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import attrs
import jsonschema_rs
import msgspec

_VISIBLE = {"ga", "beta"}
_BILLABLE = {"ga", "beta", "marketing_preview", "private_beta"}
_STAGES = _VISIBLE | _BILLABLE | {"coming_soon", "developer_preview"}


def _derived_sid(prefix: str, *parts: str) -> str:
    return prefix + hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]


@attrs.frozen
class Extension:
    """A Twilio product feature that an Add-on can extend."""

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

    def __attrs_post_init__(self) -> None:
        if not self.sid:
            object.__setattr__(self, "sid", _derived_sid("XB", self.unique_name))
        if not re.fullmatch(r"XB[0-9a-fA-F]{32}", self.sid):
            raise ValueError(f"sid: must be XB and 32 hex digits, got {self.sid!r}")
        if self.stage not in _STAGES:
            raise ValueError(f"stage: must be one of {sorted(_STAGES)}, got {self.stage!r}")
        # Offline, so that a remote $ref is not fetched.
        jsonschema_rs.validator_for(self.configuration_schema, offline=True)

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


class Catalogue:
    """The Add-ons on offer, in the order given."""

    def __init__(self, add_ons: Iterable[AddOn]) -> None:
        self._add_ons = {add_on.sid: add_on for add_on in add_ons}
        self._validators: dict[str, jsonschema_rs.Validator] = {}

    def __iter__(self) -> Iterator[AddOn]:
        return iter(self._add_ons.values())

    def get(self, sid: str) -> AddOn | None:
        """Return the Add-on with this SID, visible or not, or None."""
        return self._add_ons.get(sid)

    def configuration_errors(self, sid: str, configuration: object) -> list[dict[str, str]]:
        """Return the path and message of each schema violation in a configuration."""
        validator = self._validators.get(sid)
        if validator is None:
            schema = self._add_ons[sid].configuration_schema
            validator = jsonschema_rs.validator_for(schema, offline=True)
            self._validators[sid] = validator
        return [
            {"path": "/".join(str(step) for step in error.instance_path), "message": error.message}
            for error in validator.iter_errors(configuration)
        ]

    @classmethod
    def built_in(cls) -> Self:
        """Return the built-in Add-ons."""
        return cls(_BUILT_IN)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Return the built-in Add-ons and those of a file: a JSON list of `AddOn` objects.

        Raises:
            ValueError: The file is invalid. The message says where.
        """
        try:
            documents = msgspec.json.decode(file.read_bytes(), type=list[dict[str, Any]])
            for document in documents:
                unknown = document.keys() - {field.name for field in attrs.fields(AddOn)}
                if unknown:
                    raise ValueError(f"an Add-on has no attribute {min(unknown)!r}")
            add_ons = msgspec.convert(documents, tuple[AddOn, ...])
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ValueError(f"{file}: {error}") from None
        return cls((*_BUILT_IN, *add_ons))


_INCOMING_CALL = Extension("voice-incoming", "Incoming Voice Call", "Programmable Voice")
_LOOKUP = Extension("lookup-api", "Lookup API", "Lookup")
_RECORDING = Extension("recording-dial", "Dial Recordings", "Programmable Voice")
_INCOMING_SMS = Extension("messaging-incoming", "Incoming Message", "Programmable Messaging")

_NO_CONFIGURATION = {"type": "object", "properties": {}, "additionalProperties": False}
_CALLBACK: dict[str, Any] = {
    "callback_url": {"type": "string", "pattern": "^https?://"},
    "callback_method": {"type": "string", "enum": ["GET", "POST"]},
}
_KEYWORDS: dict[str, Any] = {
    "include-keywords": {"type": "boolean"},
    "include-topics": {"type": "boolean"},
}


def _lookup(unique_name: str, friendly_name: str, description: str, sid: str = "") -> AddOn:
    return AddOn(
        unique_name=unique_name,
        friendly_name=friendly_name,
        description=description,
        sid=sid,
        configuration_schema=_NO_CONFIGURATION,
        extensions=(_LOOKUP, _INCOMING_CALL),
    )


# Names, SIDs, extensions and configuration keys are real where public, otherwise made up.
_BUILT_IN = (
    AddOn(
        unique_name="voicebase_transcription",
        friendly_name="VoiceBase High Accuracy Transcription",
        description="Transcribes recordings and finds keywords and topics in them.",
        sid="XB7afe11af3e292cadb03248e0066b8c1e",
        pricing_type="per minute",
        configuration_schema={
            "type": "object",
            "properties": _CALLBACK | _KEYWORDS,
            "required": ["callback_url"],
            "additionalProperties": False,
        },
        extensions=(_RECORDING,),
    ),
    AddOn(
        unique_name="ibm_watson_speechtotext",
        friendly_name="IBM Watson Speech to Text",
        description="Turns recorded speech into text.",
        sid="XB85b56ed9ce713e0ac62342b901233193",
        pricing_type="per minute",
        configuration_schema={"type": "object", "properties": _CALLBACK | _KEYWORDS},
        extensions=(_RECORDING,),
    ),
    _lookup(
        "nomorobo_spamscore",
        "Nomorobo Spam Score",
        "Checks whether a number is known for robocalls.",
        "XB06d5274893cc9af4198667d2f7d74d09",
    ),
    _lookup(
        "marchex_cleancall",
        "Marchex Clean Call",
        "Recommends whether to accept or block a call.",
        "XBac2c99d9c684a765ced0b18cf0e5e1c7",
    ),
    _lookup(
        "whitepages_pro_phone_rep",
        "Whitepages Pro Phone Reputation",
        "Scores the reputation of a number.",
        "XB56520d8bffd66533ca92b398596b8438",
    ),
    _lookup(
        "nextcaller_advanced_caller_id",
        "Advanced Caller ID by Next Caller",
        "Finds the name and address of a caller.",
        "XB73cdb5ac3395a439800f298fa8a43f02",
    ),
    _lookup("twilio_carrier_info", "Twilio Carrier Information", "Finds the carrier of a number."),
    _lookup("twilio_caller_name", "Twilio Caller Name", "Finds the caller name of a number."),
    _lookup("whitepages_pro_caller_id", "Whitepages Pro Caller ID", "Finds the owner of a number."),
    _lookup("ekata_phone_valid", "Ekata Phone Valid", "Checks whether a number is in service."),
    _lookup("ekata_reverse_phone", "Ekata Reverse Phone", "Finds people and places for a number."),
    _lookup("icehook_scout", "Icehook Scout", "Scores the fraud risk of a number."),
    _lookup("truecnam_truespam", "TrueCNAM TrueSpam", "Scores how likely a caller is to be spam."),
    _lookup("telo_opencnam", "Telo OpenCNAM", "Finds the caller name of a North American number."),
    AddOn(
        unique_name="payfone_tcpa_compliance",
        friendly_name="Payfone TCPA Compliance",
        description="Checks whether a number changed owners after consent was given.",
        configuration_schema={
            "type": "object",
            "properties": {"consent_date": {"type": "string", "pattern": "^[0-9]{8}$"}},
        },
        extensions=(_LOOKUP,),
    ),
    AddOn(
        unique_name="ibm_watson_sentiment",
        friendly_name="IBM Watson Message Sentiment",
        description="Classifies the sentiment of a message.",
        pricing_type="per message",
        configuration_schema=_NO_CONFIGURATION,
        extensions=(_INCOMING_SMS,),
    ),
    AddOn(
        unique_name="ibm_watson_insights",
        friendly_name="IBM Watson Message Insights",
        description="Finds keywords, people and places in a message.",
        pricing_type="per message",
        configuration_schema={
            "type": "object",
            "properties": {"bad_words": {"type": "boolean"}},
            "required": ["bad_words"],
        },
        extensions=(_INCOMING_SMS,),
    ),
)
