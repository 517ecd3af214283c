"""The catalogue: the Add-ons that a desired state installs, and whether they can be installed."""

import json
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

import attrs

from .._core.masking import redacted
from .._core.pagination import complete
from ..client import MarketplaceClient
from ..errors import (
    APIError,
    AuthenticationError,
    ConfigurationIssue,
    CredentialsError,
    MissingExtraError,
    NotFoundError,
    PermissionDeniedError,
    SchemaError,
    ServerError,
    TokenError,
    TransportError,
    UnreadableFieldError,
)
from ..resources.available_add_ons import AvailableAddOn, configuration_errors
from ._engine.driver import Driver
from .configurations import Template, keys_of, merged
from .connections import iterating
from .desired import Desired, Wanted, or_default, overrides_of
from .desired_file import AddOn
from .masking import secret_values
from .offers import Offers, read_offer
from .problems import Problems, suggestion
from .toml_text import Path

T = TypeVar("T")


@attrs.frozen
class Catalogue:
    """The Add-ons that a desired state installs.

    Attributes:
        add_ons: The Add-ons by SID.
        offers: Their prices and terms by SID.
    """

    add_ons: Mapping[str, AvailableAddOn] = attrs.field(factory=dict, hash=False)
    offers: Offers = attrs.field(factory=dict, hash=False)


# The catalogue is the same for all accounts. If this many are rejected, others would be as well.
_MAX_REJECTED: Final = 100
# If the service does not respond to this many accounts, the cause is not a single account.
_MAX_UNANSWERED: Final = 3
_MAX_NAMED: Final = 5


async def read_catalogue(driver: Driver, desired: Desired) -> Catalogue:
    """Return the Add-ons that the desired state installs.

    Uses the credentials of the parent account, or else those of the first account that works.

    Raises:
        DesiredStateError: An Add-on or an extension does not exist in the catalogue, or a
            configuration does not match the schema of its Add-on.
        CredentialsError: No account has credentials, or those of several accounts were rejected.
        MarketplaceError: The catalogue cannot be read.
    """
    if not desired.required_add_ons():
        return Catalogue()

    async def read(client: MarketplaceClient) -> tuple[Catalogue, Problems]:
        problems = desired.problems()
        return await _read(client, desired, problems), problems

    catalogue, problems = await _with_some_client(driver, read)
    await driver.disk(check_configurations, desired, catalogue, problems)
    problems.check()
    return catalogue


async def read_offers(driver: Driver, sids: Collection[str]) -> Offers:
    """Return the current prices and terms of Add-ons, by SID.

    Add-ons that are no longer in the catalogue are left out.

    Raises:
        CredentialsError: No account has credentials, or those of several accounts were rejected.
        MarketplaceError: The catalogue cannot be read.
    """

    async def read(client: MarketplaceClient) -> Offers:
        offers = {}
        for sid in sids:
            with suppress(NotFoundError):
                offers[sid] = await read_offer(client, await client.available_add_ons.fetch(sid))
        return offers

    return await _with_some_client(driver, read) if sids else {}


async def _with_some_client(driver: Driver, read: Callable[[MarketplaceClient], Awaitable[T]]) -> T:
    """Read with the credentials of the first account that works."""
    rejected: dict[str, Exception] = {}
    unanswered = 0
    async with iterating(driver.connection.some_clients()) as clients:
        async for sid, client in clients:
            try:
                if isinstance(client, Exception):
                    raise client
                return await read(client)
            except Exception as error:
                if isinstance(error, TransportError | ServerError):
                    unanswered += 1
                    if unanswered == _MAX_UNANSWERED:
                        raise
                elif not (isinstance(client, Exception) or _is_rejection(error)):
                    raise
                rejected[sid] = error
                if len(rejected) == _MAX_REJECTED:
                    break
    raise _no_credentials(driver, rejected)


def _is_rejection(error: Exception) -> bool:
    """Return whether other credentials may work."""
    if isinstance(error, TokenError):
        return isinstance(error.error, APIError)
    return isinstance(error, AuthenticationError | PermissionDeniedError | CredentialsError)


def _no_credentials(driver: Driver, rejected: Mapping[str, Exception]) -> Exception:
    if not rejected:
        return CredentialsError(f"{driver.source}: no account has credentials")
    first = next(iter(rejected.values()))
    if len(rejected) == 1 and isinstance(first, APIError | TokenError | TransportError):
        return first  # its message names the account
    named = "; ".join(f"{sid}: {error}" for sid, error in list(rejected.items())[:_MAX_NAMED])
    more = len(rejected) - _MAX_NAMED
    suffix = f"; and {more:,} more" if more > 0 else ""
    count = f"{len(rejected):,} account" + ("" if len(rejected) == 1 else "s")
    return CredentialsError(
        f"the catalogue cannot be read: the credentials of {count} do not work: {named}{suffix}"
    )


async def _read(client: MarketplaceClient, desired: Desired, problems: Problems) -> Catalogue:
    catalogue: dict[str, AvailableAddOn] = {}
    offers = {}
    for sid, paths in desired.required_add_ons().items():
        try:
            catalogue[sid] = await client.available_add_ons.fetch(sid)
        except NotFoundError:
            for path in desired.paths_of(sid):
                problems.add(path, f"Add-on {sid} does not exist")
            continue
        offers[sid] = await read_offer(client, catalogue[sid])
        if not paths:
            continue
        names = set()
        async for extension in complete(client.available_add_ons.extensions(sid).list()):
            if "unique_name" in extension.unreadable:
                raise UnreadableFieldError(extension.sid, ["unique_name"])
            names.add(extension.unique_name or "")
        for name in paths.keys() - names:
            hint = suggestion(name, names) or f"; it has {', '.join(sorted(names)) or 'none'}"
            add_on = catalogue[sid].friendly_name or sid
            problems.add(paths[name], f"{add_on} has no such extension{hint}")
    return Catalogue(catalogue, offers)


def configuration_problem(
    wanted: Wanted,
    current: Mapping[str, Any] | None,
    catalogue: Catalogue,
    secret: Collection[str],
) -> str | None:
    """Return why the configuration of an account is invalid. None if valid, or if not checkable.

    Args:
        wanted: The desired state.
        current: The configuration of the installed Add-on. None if it is to be installed.
        catalogue: The Add-ons that the desired state installs, by SID.
        secret: The secret keys.
    """
    add_on = catalogue.add_ons.get(wanted.available_add_on_sid or "")
    if add_on is None:
        return None
    configuration = wanted.configuration_to_write(current, secret) or {}
    try:
        issues = configuration_errors(add_on, configuration)
    except MissingExtraError:
        # Without the schema validator, the service checks the configuration.
        return None
    if not issues:
        return None
    text = "; ".join(f"{issue.path or '(root)'}: {issue.message}" for issue in issues)
    text = redacted(text, secret_values(configuration, secret))
    return f"{wanted.path}.configuration does not match the Add-on's schema: {text}"


# -- the configurations of the file


def check_configurations(desired: Desired, catalogue: Catalogue, problems: Problems) -> None:
    """Add the problems that a configuration of the file has on every account.

    Several overrides can apply to an account. A key that one override lacks may come from another,
    but a wrong value that it sets stays wrong. Everything else is checked account by account,
    including values that differ between accounts.
    """
    for index, add_on in enumerate(desired.add_ons):
        record = catalogue.add_ons.get(or_default(add_on.available_add_on_sid, ""))
        if record is None or add_on.state == "absent":
            continue
        try:
            for path, message in _Check(record, add_on, desired.secret).problems(index):
                problems.add(path, f"does not match the Add-on's schema: {message}")
        except (MissingExtraError, SchemaError):
            # Without the schema validator or a usable schema, the accounts are checked one by one.
            continue


@attrs.define(repr=False)
class _Check:
    record: AvailableAddOn
    add_on: AddOn
    secret: Collection[str]
    _found: dict[str, tuple[ConfigurationIssue, ...]] = attrs.field(factory=dict)

    def problems(self, index: int) -> Iterator[tuple[Path, str]]:
        base = or_default(self.add_on.configuration, None)
        overrides = {
            number: override.configuration
            for number, override in enumerate(overrides_of(self.add_on))
            if isinstance(override.configuration, dict)
        }
        fullest = base or {}
        for override in overrides.values():
            fullest = merged(fullest, override)
        in_base = () if base is None else self._issues(base)
        for issue in in_base:
            if self._is_certain(issue, base or {}, fullest):
                yield self._problem(("add_ons", index, "configuration"), issue, base or {})
        for number, override in overrides.items():
            whole = merged(base or {}, override)
            for issue in self._issues(whole):
                if issue in in_base:
                    continue
                if self._is_certain(issue, override, merged(fullest, override)):
                    path = ("add_ons", index, "overrides", number, "configuration")
                    yield self._problem(path, issue, whole)

    def _issues(self, configuration: dict[str, Any]) -> tuple[ConfigurationIssue, ...]:
        sampled = _sampled(configuration)
        if sampled != configuration and self._has_conditions:
            return ()
        key = json.dumps(sampled, sort_keys=True)
        if key not in self._found:
            self._found[key] = tuple(
                issue
                for issue in configuration_errors(self.record, sampled)
                if not _is_of_account(_at(configuration, issue.path))
            )
        return self._found[key]

    @property
    def _has_conditions(self) -> bool:
        """Whether a value of the account may decide what the schema allows elsewhere."""
        return not _CONDITIONS.isdisjoint(keys_of(self.record.configuration_schema))

    def _is_certain(
        self, issue: ConfigurationIssue, own: dict[str, Any], fullest: dict[str, Any]
    ) -> bool:
        """Return whether no other override can fix this issue."""
        value = _at(own, issue.path)
        if value is not _MISSING and not isinstance(value, dict):
            return True
        # A table may lack a key that another override, or the account itself, has.
        return not self.add_on.ignore and _kind(issue) in map(_kind, self._issues(fullest))

    def _problem(
        self, path: Path, issue: ConfigurationIssue, configuration: dict[str, Any]
    ) -> tuple[Path, str]:
        message = redacted(issue.message, secret_values(configuration, self.secret))
        return (*path, *(issue.path.split("/") if issue.path else ())), message


_MISSING: Final = object()
# The keywords of a JSON Schema that combine others.
_CONDITIONS: Final = frozenset(
    {"if", "allOf", "anyOf", "oneOf", "not", "dependentSchemas", "dependencies", "$ref"}
)


def _at(value: Any, path: str) -> Any:
    """Return the value at a path of an issue."""
    for step in path.split("/") if path else ():
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return _MISSING
    return value


def _is_of_account(value: Any) -> bool:
    return not isinstance(value, dict) and _sampled(value) != value


def _kind(issue: ConfigurationIssue) -> tuple[str, str]:
    """Return what identifies an issue. Its message may list several keys in parentheses."""
    return issue.path, issue.message.partition("(")[0]


def _sampled(value: Any) -> Any:
    match value:
        case Template():
            return "x"
        case dict():
            return {key: _sampled(item) for key, item in value.items()}
        case list():
            return [_sampled(item) for item in value]
        case _:
            return value
