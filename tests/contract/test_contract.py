"""The emulator against Twilio's OpenAPI description: every operation and every example."""

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
import requests
import schemathesis
from hypothesis import settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance
from support.paths import DESCRIPTION, NO_DESCRIPTION

from marketplace_async.emulator import AddOn, Catalogue, Emulator, Extension
from marketplace_async.emulator.routes import marketplace_routes
from marketplace_async.emulator.store import Store

AC = "AC" + "1" * 32
EMPTY_AC = "AC" + "2" * 32
ADD_ON = "XB" + "a" * 32
BARE_ADD_ON = "XB" + "b" * 32

# Free-form in the description: any object, or null.
FREE_FORM = {
    *("configuration", "configuration_schema", "documentation", "module_info"),
    *("policies", "pricing", "support"),
}


def basic(account_sid: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{account_sid}:x".encode()).decode()}


def example_add_ons(description: dict[str, Any]) -> list[AddOn]:
    """Return the Add-on of the examples, and one without extensions."""
    example = description["paths"]["/v1/AvailableAddOns/{Sid}"]["get"]["responses"]["200"]
    add_on = example["content"]["application/json"]["examples"]["fetch"]["value"]
    return [
        AddOn(
            sid=ADD_ON,
            unique_name="voicebase_high_accuracy_transcription",
            friendly_name=add_on["friendly_name"],
            description=add_on["description"],
            configuration_schema=add_on["configuration_schema"],
            extensions=(Extension("voice-incoming", "Incoming Voice Call", "Programmable Voice"),),
            partner_account_sid=AC,
        ),
        AddOn(sid=BARE_ADD_ON, unique_name="bare", friendly_name="Bare"),
    ]


def example_bodies(request_body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each example of a request body as arguments for aiohttp."""
    for media_type, content in request_body.get("content", {}).items():
        for example in content["examples"].values():
            if media_type == "application/json":
                yield {"json": example["value"]}
            else:
                yield {
                    "data": {name: as_form_value(field) for name, field in example["value"].items()}
                }


def as_form_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def assert_same_shape(actual: Any, example: Any, at: str = "$") -> None:
    """Check that a value has exactly the fields of the example, with the same types."""
    name = at.rpartition(".")[2]
    if name in FREE_FORM or (name == "description" and isinstance(example, dict)):
        assert actual is None or isinstance(actual, dict), at
    elif isinstance(example, dict):
        assert isinstance(actual, dict), at
        assert actual.keys() == example.keys(), at
        for key in example:
            assert_same_shape(actual[key], example[key], f"{at}.{key}")
    elif isinstance(example, list):
        assert isinstance(actual, list), at
        assert bool(actual) == bool(example), at
        for item in actual:
            assert_same_shape(item, example[0], f"{at}[]")
    elif isinstance(example, int | float) and not isinstance(example, bool):
        assert type(actual) in (int, float), at
    else:
        assert type(actual) is type(example), at


async def test_every_response_has_the_shape_of_its_example(
    description: dict[str, Any],
) -> None:
    count = 0
    add_ons = example_add_ons(description)
    for path, item in description["paths"].items():
        for method in item.keys() & {"get", "post", "delete"}:
            operation = item[method]
            for status, response in operation["responses"].items():
                examples = response.get("content", {}).get("application/json", {})
                for name, example in examples.get("examples", {"": {"value": None}}).items():
                    if status in ("304", "400", "409"):
                        continue
                    for body in list(example_bodies(operation.get("requestBody", {}))) or [{}]:
                        status_code, document = await request_example(
                            add_ons, method, path, name, body
                        )
                        expected = [200, 202] if "Referral" in path else [int(status)]
                        assert status_code in expected, (method, path)
                        assert_same_shape(document, example["value"], f"{method} {path} {name} $")
                        count += 1
    assert count == 23


async def request_example(
    add_ons: list[AddOn], method: str, template: str, example: str, body: dict[str, Any]
) -> tuple[int, Any]:
    """Send a request to a new emulator, for an existing resource or an empty list."""
    empty = example == "readEmpty"
    empty_catalogue = empty and template == "/v1/AvailableAddOns"
    async with Emulator(catalogue=Catalogue([] if empty_catalogue else add_ons)) as emulator:
        xe = xf = ""
        xb = BARE_ADD_ON if empty else ADD_ON
        if not empty_catalogue:
            (xe,) = emulator.install(AC, xb, None if empty else {"bad_words": False})
            (xf,) = add_ons[0].extension_sids()
        own = xe if "Installed" in template else xb
        path = (
            template.replace("Extensions/{Sid}", f"Extensions/{xf}")
            .replace("{Sid}", own)
            .replace("{InstalledAddOnSid}", xe)
            .replace("{AvailableAddOnSid}", xb)
        )
        headers = basic(EMPTY_AC if empty and template == "/v1/InstalledAddOns" else AC)
        async with aiohttp.ClientSession(emulator.url, headers=headers) as session:
            if template == "/v1/Listings" and method == "get":
                data = {
                    "ModuleInfo": '{"tag":"a","tagline":"b","logo_url":"c","logo_bg_color_hex":"d"}'
                }
                await session.post("/v1/Listings", data=data)
            async with session.request(method, path, **body) as response:
                text = await response.text()
                return response.status, json.loads(text) if text else None


def test_the_description_and_the_emulator_have_the_same_operations(
    description: dict[str, Any],
) -> None:
    store = Store()
    emulated = {
        (method, path.replace("{xb}", "{}").replace("{xe}", "{}").replace("{xf}", "{}"))
        for method, path, _ in marketplace_routes(store, Catalogue([]))
    }
    store.close()
    described = {
        (method.upper(), "/".join("{}" if part[:1] == "{" else part for part in path.split("/")))
        for path, item in description["paths"].items()
        for method in item.keys() & {"get", "post", "delete"}
    }
    assert emulated == described
    assert len(emulated) == 18


@pytest.fixture(scope="module")
def shared_emulator(description: dict[str, Any]) -> Iterator[Emulator]:
    with Emulator(catalogue=Catalogue(example_add_ons(description))) as emulator:
        yield emulator


def use_existing_sids(case: "schemathesis.Case[Any]", url: str) -> None:
    """Set the SIDs of a case to an existing installation, its Add-on and its extension."""
    session = requests.Session()
    session.headers.update(basic(AC))
    data = {
        "AvailableAddOnSid": ADD_ON,
        "AcceptTermsOfService": "true",
        "Configuration": '{"bad_words": true}',
    }
    with session:
        installed = session.post(f"{url}/v1/InstalledAddOns", data=data).json()
        extensions = session.get(installed["links"]["extensions"]).json()["extensions"]
    own = installed["sid"] if "Installed" in case.path else ADD_ON
    sids = {
        "InstalledAddOnSid": installed["sid"],
        "AvailableAddOnSid": ADD_ON,
        "Sid": extensions[0]["sid"] if "Extensions" in case.path else own,
    }
    case.path_parameters = {name: sids[name] for name in case.path_parameters}


if DESCRIPTION.is_file():
    schema = schemathesis.openapi.from_path(DESCRIPTION)

    @pytest.mark.parametrize("existing", [True, False])
    @schema.parametrize()
    @settings(max_examples=40, deadline=None)
    def test_responses_to_generated_requests_match_the_description(
        case: "schemathesis.Case[Any]", shared_emulator: Emulator, existing: bool
    ) -> None:
        if existing:
            use_existing_sids(case, shared_emulator.url)
        case.call_and_validate(
            base_url=shared_emulator.url,
            headers=basic(AC),
            checks=[not_a_server_error, response_schema_conformance, content_type_conformance],
        )

else:

    @pytest.mark.skip(reason=NO_DESCRIPTION)
    def test_responses_to_generated_requests_match_the_description() -> None: ...
