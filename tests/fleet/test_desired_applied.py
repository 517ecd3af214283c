"""A desired state applied to accounts: ignored keys, account values, null and removal."""

from pathlib import Path

from support.fleet import PARENT, TRANSCRIPTION, VOICEBASE, Fleet

from marketplace_async import fleet

SPEECH = f"""
[[add_ons]]
unique_name = "ibm_watson_speechtotext"
available_add_on_sid = "{TRANSCRIPTION}"
accept_terms_of_service = true
accounts = {{ friendly_names = ["Shop 1", "Shop 2"] }}

[add_ons.configuration]
callback_url = "https://x.example/{{account_sid}}/{{friendly_name}}?raw={{{{friendly_name}}}}"
note = {{ null = true }}
language = "en"

[[add_ons.overrides]]
accounts = {{ friendly_names = ["Shop 2"] }}
configuration = {{ language = {{ remove = true }} }}
"""


async def test_each_account_gets_its_own_values(shops: Fleet, tmp_path: Path) -> None:
    desired = fleet.parse(SPEECH)
    report = await fleet.apply(
        shops.source, desired, journal=tmp_path / "journal", approve=lambda _: True
    )
    assert (report.writes, report.failures.count) == ({"done": 2}, 0)
    state = await shops.state()
    for (sid, _), name, more in zip(
        shops.shops, ("Shop 1", "Shop 2"), ({"language": "en"}, {}), strict=False
    ):
        configuration, _ = state[name]["ibm_watson_speechtotext"]
        url = f"https://x.example/{sid}/{name}?raw={{friendly_name}}"
        assert configuration == {"callback_url": url, "note": None, **more}
    assert (await fleet.plan(shops.source, desired)).steps == 0


VOICE = f"""
[[add_ons]]
unique_name = "voicebase_transcription"
available_add_on_sid = "{VOICEBASE}"
accept_terms_of_service = true
accounts = {{ sids = ["SID"] }}
ignore = ["include-topics"]
configuration = {{ callback_url = "URL" }}
"""


async def test_ignored_keys_cause_no_update_and_survive_one(shops: Fleet, tmp_path: Path) -> None:
    ((sid, _),) = shops.emulator.add_subaccounts(PARENT, 1, friendly_name="Own")
    url = "https://example.com"
    shops.emulator.install(sid, VOICEBASE, {"callback_url": url, "include-topics": True})
    same = VOICE.replace("SID", sid).replace("URL", url)
    assert (await fleet.plan(shops.source, fleet.parse(same))).steps == 0

    moved = fleet.parse(same.replace(url, "https://new.example.com"))
    report = await fleet.apply(
        shops.source, moved, journal=tmp_path / "journal", approve=lambda _: True
    )
    (group,) = report.plan.groups
    assert list(group.changes) == [f'~ callback_url = "{url}" -> "https://new.example.com"']
    assert report.writes == {"done": 1}
    state = await shops.state()
    configuration, _ = state["Own"]["voicebase_transcription"]
    assert configuration == {"callback_url": "https://new.example.com", "include-topics": True}
