"""The built-in Add-ons.

Real: the Add-ons by name, the SIDs of those with the origin "real", and the extensions
`voice-incoming`, `lookup-api` and `recording-dial`. Made up: all other SIDs, the descriptions, the
extension `messaging-incoming`, and the configuration schemas. Twilio publishes no schema: those
here are written from the configuration keys in its documentation.
"""

from typing import Any, Final

from .add_ons import AddOn, Extension

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
        origin="real" if sid else "made_up_sid",
        unique_name=unique_name,
        friendly_name=friendly_name,
        description=description,
        sid=sid,
        configuration_schema=_NO_CONFIGURATION,
        extensions=(_LOOKUP, _INCOMING_CALL),
    )


BUILT_IN: Final = (
    AddOn(
        origin="real",
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
        origin="real",
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
        origin="made_up_sid",
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
        origin="made_up_sid",
        unique_name="ibm_watson_sentiment",
        friendly_name="IBM Watson Message Sentiment",
        description="Classifies the sentiment of a message.",
        pricing_type="per message",
        configuration_schema=_NO_CONFIGURATION,
        extensions=(_INCOMING_SMS,),
    ),
    AddOn(
        origin="made_up_sid",
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
