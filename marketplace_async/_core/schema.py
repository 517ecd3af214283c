"""Validates a configuration against the JSON Schema of an Add-on, offline."""

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigurationIssue, MissingExtraError, SchemaError
from .codec import plain_object

# Patterns come from the network: give up on one that backtracks without end.
_BACKTRACK_LIMIT = 10_000


def schema_violations(
    sid: str, schema: dict[str, Any] | None, configuration: Mapping[str, Any]
) -> tuple[ConfigurationIssue, ...]:
    """Return every violation of `schema`, the configuration schema of the Add-on `sid`."""
    plain = plain_object(configuration, "configuration")
    if schema is None:
        return ()
    try:
        import jsonschema_rs
    except ModuleNotFoundError:
        raise MissingExtraError("checking a configuration", "schema") from None
    try:
        validator = jsonschema_rs.validator_for(
            schema,
            offline=True,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_LIMIT),
        )
        return tuple(
            ConfigurationIssue("/".join(str(step) for step in error.instance_path), error.message)
            for error in validator.iter_errors(plain)
        )
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"the configuration schema of {sid}: {error}") from None
