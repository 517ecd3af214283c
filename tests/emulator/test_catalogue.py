"""The emulator's catalogue of Add-ons."""

import json
from pathlib import Path

import aiohttp
import pytest
from support.plain_http import INSTALL, restricted, send

from marketplace_async.emulator import Catalogue, Emulator, Extension


async def test_an_add_on_outside_ga_and_beta_is_neither_visible_nor_installable() -> None:
    async with (
        Emulator(catalogue=restricted(stage="coming_soon")) as emulator,
        aiohttp.ClientSession() as session,
    ):
        sid = "XB" + "c" * 32
        data = {**INSTALL, "AvailableAddOnSid": sid}
        _, page, _ = await send(session, emulator, "GET", "/v1/AvailableAddOns")
        assert page["available_add_ons"] == []
        assert (await send(session, emulator, "GET", f"/v1/AvailableAddOns/{sid}"))[0] == 404
        assert (await send(session, emulator, "POST", "/v1/InstalledAddOns", data=data))[0] == 404


def test_a_catalogue_file_extends_the_built_in_catalogue(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.json"
    file.write_text(
        json.dumps(
            [
                {
                    "unique_name": "mine",
                    "friendly_name": "Mine",
                    "configuration_schema": {"type": "object", "required": ["a"]},
                    "extensions": [{"unique_name": "e", "friendly_name": "E", "product_name": "P"}],
                }
            ]
        )
    )
    *_, mine = Catalogue.load(file)
    assert mine.sid.startswith("XB")
    assert mine.extensions == (Extension("e", "E", "P"),)
    assert len(list(Catalogue.load(file))) == len(list(Catalogue.built_in())) + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "Input data was truncated"),
        ("{}", "Expected `array`, got `object`"),
        ("[5]", "Expected `object`, got `int`"),
        ('[{"unique_name": "a"}]', "missing required field `friendly_name`"),
        (
            '[{"unique_name": "a", "friendly_name": "A", "color": 1}]',
            "an Add-on has no attribute 'color'",
        ),
        ('[{"unique_name": "a", "friendly_name": "A", "sid": "XB1"}]', "must be XB and 32"),
        ('[{"unique_name": "a", "friendly_name": "A", "stage": "x"}]', "must be one of"),
        (
            '[{"unique_name": "a", "friendly_name": "A", "configuration_schema": {"type": 5}}]',
            "5 is not valid",
        ),
        (
            '[{"unique_name": "a", "friendly_name": "A",'
            ' "configuration_schema": {"$ref": "http://127.0.0.1:1/x"}}]',
            "127.0.0.1:1",
        ),
    ],
)
def test_the_error_for_an_invalid_catalogue_file_names_the_file(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "catalogue.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"catalogue\.json: ") as error:
        Catalogue.load(file)
    assert message in str(error.value)
