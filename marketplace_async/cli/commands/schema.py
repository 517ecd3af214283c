"""`marketplace-async schema`: the JSON Schema of the desired state."""

from ..output import StandardOutput
from ..status import Status


def schema() -> int:
    """Print the JSON Schema of the desired state. Editors use it to check and complete TOML."""
    from ... import fleet

    StandardOutput("jsonl", (), ()).chunk([fleet.schema()])
    return Status.DONE
