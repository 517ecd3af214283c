"""What the machine and the way in which tests run say about times."""

import sys
from typing import Final

# The coverage measurement traces every line: pure Python then takes several times as long.
SLOWDOWN: Final = 5 if "coverage" in sys.modules else 1
