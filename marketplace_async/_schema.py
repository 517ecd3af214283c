"""Checks a configuration against the schema of an add-on, before anything is sent."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from ._codec import json_object
from .errors import ConfigurationError, MissingExtraError, SchemaError

if TYPE_CHECKING:
    from .resources.available_add_ons import AvailableAddOn

# Patterns come from the network: one that would backtrack for ever is given up on.
_BACKTRACK_LIMIT = 10_000


@attrs.frozen
class ConfigurationIssue:
    """One thing that is wrong with a configuration.

    Attributes:
        path: Where, such as "callback_url" or "rules/0/name"; "" is the whole.
        message: What is wrong.
    """

    path: str
    message: str


def configuration_errors(
    add_on: "AvailableAddOn", configuration: Mapping[str, Any]
) -> tuple[ConfigurationIssue, ...]:
    """Return everything that is wrong with a configuration, by the schema of its add-on.

    Nothing is sent and nothing is fetched, whatever the schema refers to.

    Args:
        add_on: As it was fetched or listed; without a schema, everything is right.
        configuration: Plain JSON.

    Raises:
        TypeError, ValueError: The configuration is no plain JSON.
        SchemaError: The schema itself cannot be used.
        MissingExtraError: The extra `schema` is not installed.
    """
    json_object(configuration, "configuration")
    if add_on.configuration_schema is None:
        return ()
    try:
        import jsonschema_rs
    except ModuleNotFoundError:
        raise MissingExtraError("checking a configuration", "schema") from None
    try:
        validator = jsonschema_rs.validator_for(
            add_on.configuration_schema,
            offline=True,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_LIMIT),
        )
        return tuple(
            ConfigurationIssue("/".join(str(step) for step in error.instance_path), error.message)
            for error in validator.iter_errors(dict(configuration))
        )
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"the configuration schema of {add_on.sid}: {error}") from None


def check_configuration(add_on: "AvailableAddOn", configuration: Mapping[str, Any]) -> None:
    """Raise ConfigurationError if anything is wrong with a configuration."""
    issues = configuration_errors(add_on, configuration)
    if issues:
        raise ConfigurationError(add_on.sid, issues)
