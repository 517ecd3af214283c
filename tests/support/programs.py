"""What programs are started with."""

import os
import shutil
from typing import Final

from marketplace_async.testing import account

# Begins a command that the kernel kills when this process ends, even if it is killed (on Linux).
ENDING_WITH_THIS_PROCESS: Final = (
    ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
)


def environ(base_url: str) -> dict[str, str]:
    """Return an environment in which `from_env()` connects to this service."""
    inherited = {name: value for name, value in os.environ.items() if "TWILIO_" not in name}
    return {
        **inherited,
        "MARKETPLACE_BASE_URL": base_url,
        "TWILIO_ACCOUNT_SID": account().account_sid,
        "TWILIO_AUTH_TOKEN": "made-up",
    }
