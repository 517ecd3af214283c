"""The catalogue of Add-ons: the built-in ones, those of a file, or your own."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import jsonschema_rs

from .add_ons import AddOn
from .built_in import BUILT_IN
from .catalogue_files import parse, schema


class Catalogue:
    """The Add-ons on offer, in the order given.

    Iterating yields the `AddOn` objects, visible or not.

    Args:
        add_ons: The Add-ons.

    Raises:
        ValueError: Two Add-ons have the same SID.
    """

    def __init__(self, add_ons: Iterable[AddOn]) -> None:
        self._add_ons: dict[str, AddOn] = {}
        for add_on in add_ons:
            self._add(add_on)
        self._validators: dict[str, jsonschema_rs.Validator] = {}

    def __iter__(self) -> Iterator[AddOn]:
        return iter(self._add_ons.values())

    def __len__(self) -> int:
        return len(self._add_ons)

    def get(self, sid: str) -> AddOn | None:
        """Return the Add-on with this SID, visible or not, or None."""
        return self._add_ons.get(sid)

    def extended(self, add_ons: Iterable[AddOn], *, replace: bool = False) -> Self:
        """Return a catalogue with more Add-ons.

        Args:
            add_ons: The Add-ons to add, after those of this catalogue.
            replace: Whether they replace Add-ons with the same SID, in their places.

        Raises:
            ValueError: Two Add-ons have the same SID, and `replace` is False.
        """
        catalogue = type(self)(self)
        for add_on in add_ons:
            catalogue._add(add_on, replace=replace)
        return catalogue

    def configuration_errors(self, sid: str, configuration: object) -> list[dict[str, str]]:
        """Return the path and message of each schema violation in a configuration."""
        validator = self._validators.get(sid)
        if validator is None:
            schema = self._add_ons[sid].configuration_schema
            validator = jsonschema_rs.validator_for(schema, offline=True)
            self._validators[sid] = validator
        return [
            {"path": "/".join(str(step) for step in error.instance_path), "message": error.message}
            for error in validator.iter_errors(configuration)
        ]

    @classmethod
    def built_in(cls) -> Self:
        """Return the built-in Add-ons. `AddOn.origin` says which SIDs are real."""
        return cls(BUILT_IN)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Return the built-in Add-ons and those of a JSON file.

        The file is a list of objects with the attributes of `AddOn`, or an object with that list
        under "add_ons". `Catalogue.schema()` describes it. An Add-on with `"replace": true`
        replaces the one with the same SID.

        Raises:
            OSError: The file cannot be read.
            ValueError: The file is invalid. The message says where, and what is wrong.
        """
        catalogue = cls.built_in()
        try:
            for place, add_on, replace in parse(file.read_bytes()):
                try:
                    catalogue._add(add_on, replace=replace)
                except ValueError as error:
                    hint = '; "replace": true replaces it'
                    raise ValueError(f"{place}.{error}{hint}") from None
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None
        return catalogue

    @staticmethod
    def schema() -> dict[str, Any]:
        """Return the JSON Schema of the files that `load` reads."""

        return schema()

    def _add(self, add_on: AddOn, *, replace: bool = False) -> None:
        if not isinstance(add_on, AddOn):
            raise TypeError(f"add_ons: expected AddOn objects, got {type(add_on).__name__}")
        known = self._add_ons.get(add_on.sid)
        if known is not None and not replace:
            raise ValueError(f"sid: {add_on.sid} is already that of {known.unique_name!r}")
        self._add_ons[add_on.sid] = add_on
