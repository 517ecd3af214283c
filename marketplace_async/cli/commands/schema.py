"""`marketplace-async schema`: the JSON Schema of the desired state."""

from ... import fleet
from ..output import StandardOutput
from ..status import Status


def schema() -> int:
    """Print the JSON Schema of the desired state. Editors use it to check and complete TOML."""
    StandardOutput("jsonl", (), ()).chunk([fleet.schema()])
    return Status.DONE
