"""The paths of the project and of Twilio's OpenAPI description."""

import os
from pathlib import Path

PROJECT = Path(__file__).parents[2]

DESCRIPTION = Path(
    os.environ.get("MARKETPLACE_OPENAPI", PROJECT / "../shared/api/marketplace_v1.json")
)
NO_DESCRIPTION = f"no OpenAPI description at {DESCRIPTION}; set MARKETPLACE_OPENAPI to its path"
