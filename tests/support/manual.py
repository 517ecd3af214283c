"""The manual: the README and the pages of the documentation that belong together.

Its programs, files and transcripts are run in this order.
"""

import re
from typing import Final

from support.paths import PROJECT

DOCS: Final = PROJECT / "docs"
PAGES: Final = [
    PROJECT / "README.md",
    *(
        DOCS / f"{name}.md"
        for name in (
            "tutorial/first-steps",
            "tutorial/lists",
            "tutorial/records",
            "tutorial/many-accounts",
            "how-to/validate",
            "how-to/idempotent-installs",
            "how-to/account-sources",
            "how-to/client-options",
            "how-to/network",
            "reference/errors",
            "explanation/retries",
            "explanation/responses",
            "explanation/limits",
            "how-to/logging",
            "how-to/listings",
            "tutorial/webhooks",
            "how-to/command-line",
            "reference/exit-statuses",
            "how-to/jobs",
            "how-to/several-machines",
            "tutorial/testing",
            "how-to/recipes",
            "how-to/migration",
            "how-to/troubleshooting",
            "reference/environment",
        )
    ),
]
# The course of the tutorial, in order. Its files and commands are run by themselves.
COURSE: Final = [
    DOCS / "tutorial" / f"{name}.md"
    for name in ("start", "install-an-add-on", "read-lists", "accounts", "write-a-test")
]
MANUAL: Final = "\n".join(page.read_text() for page in PAGES)

BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
