"""The environment of programs of the documentation."""

import os

from marketplace_async.testing import account


def environ(base_url: str) -> dict[str, str]:
    """Return an environment in which `from_env()` connects to this service."""
    inherited = {name: value for name, value in os.environ.items() if "TWILIO_" not in name}
    return {
        **inherited,
        "MARKETPLACE_BASE_URL": base_url,
        "TWILIO_ACCOUNT_SID": account().account_sid,
        "TWILIO_AUTH_TOKEN": "made-up",
    }
