"""Prices and terms: a plan shows them, an approval accepts them, and apply compares them."""

import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.fleet import PARENT, SPAM_SCORE, TRANSCRIPTION, Fleet, lines

from marketplace_async import AvailableAddOn, Listing, MarketplaceClient, fleet
from marketplace_async.cli.plan_json import plain_group, plain_plan
from marketplace_async.emulator import Catalogue, Emulator
from marketplace_async.fleet.offers import offer_changes, offer_of
from marketplace_async.testing import account

POLICIES = {"legal": "https://example.com/terms/1", "privacy": "https://example.com/privacy"}


class Priced(Fleet):
    """A fleet whose parent account is the partner of an Add-on, with a listing that it can edit."""

    async def edit(self, **parts: dict[str, Any]) -> None:
        async with MarketplaceClient(account(), base_url=self.emulator.url) as client:
            await client.listings.update(SPAM_SCORE, **parts)

    def reads(self) -> list[str]:
        """Return the requests that read prices and terms."""
        return [
            entry.path
            for entry in self.emulator.log
            if entry.method == "GET"
            and entry.path.startswith(("/v1/Listing/", "/v1/AvailableAddOns"))
        ]


@pytest.fixture
def marketplace_emulator_options() -> dict[str, Any]:
    built_in = Catalogue.built_in()
    spam_score = built_in.get(SPAM_SCORE)
    assert spam_score is not None
    mine = attrs.evolve(spam_score, partner_account_sid=PARENT)
    return {"catalogue": built_in.extended([mine], replace=True)}


@pytest.fixture
async def priced(marketplace_emulator: Emulator) -> Priced:
    found = Priced(marketplace_emulator)
    await found.edit(policies=POLICIES, pricing={"body": "Basic plan - $10/month"})
    return found


async def test_a_plan_names_the_price_and_terms_of_each_add_on_once(priced: Priced) -> None:
    report = await fleet.plan(priced.source, priced.desired)
    spam, transcription = report.acceptances
    assert (spam.available_add_on_sid, spam.unique_names) == (SPAM_SCORE, ("spam-score",))
    assert (spam.accounts, transcription.accounts) == (41, 40)
    assert spam.offer is not None
    assert spam.offer.price_text == f"{spam.offer.pricing_type}; Basic plan - $10/month"
    assert spam.offer.terms_text == "; ".join(f"{key} {POLICIES[key]}" for key in sorted(POLICIES))
    assert transcription.available_add_on_sid == TRANSCRIPTION
    assert transcription.offer is not None
    assert transcription.offer.price_text == "per minute"
    assert transcription.offer.terms_text == "not stated by the service"
    # Each Add-on is read once, regardless of the number of accounts.
    assert priced.reads().count(f"/v1/Listing/{SPAM_SCORE}") == 1
    installs = [group for group in report.groups if group.action == "install"]
    assert [group.offer for group in installs] == [spam.offer, transcription.offer]
    assert all(group.offer is None for group in report.groups if group.action != "install")
    assert plain_group(installs[0])["offer"]["terms"] == spam.offer.terms
    plan = fleet.AccountPlan(
        "AC", None, (fleet.Step(action="install", unique_name="a", offer=spam.offer),)
    )
    assert plain_plan(plan)["steps"][0]["offer"]["pricing"] == "Basic plan - $10/month"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policies": {**POLICIES, "legal": "https://example.com/terms/2"}}, "terms: "),
        ({"pricing": {"body": "Basic plan - $99/month"}}, r"\$10/month -> .*\$99/month"),
        ({"pricing": {"body": "x" * 400 + "y"}}, "price: "),
    ],
)
@pytest.mark.parametrize("is_saved", [True, False])
async def test_an_install_whose_price_or_terms_changed_since_is_skipped(
    priced: Priced, tmp_path: Path, change: dict[str, Any], message: str, is_saved: bool
) -> None:
    file = tmp_path / "plan.jsonl"
    if is_saved:
        await fleet.plan(priced.source, priced.desired, out=file)
        assert {step["offer"]["digest"][:7] for step in _installs(file)} == {"sha256:"}

    async def approve(plan: fleet.PlanReport) -> bool:
        await priced.edit(**change)  # after the plan was shown
        return True

    report = await fleet.apply(
        priced.source,
        priced.desired,
        journal=tmp_path / "journal",
        approve=approve,
        plan=file if is_saved else None,
        accept_secret_changes=is_saved,
    )
    assert report.counts.skipped == 41
    assert report.writes["skipped"] == 82  # including the extension of each
    first = report.failures.first[0].message
    assert "changed since the plan" in first
    assert re.search(message, first), first
    state = await priced.state()
    assert all("spam-score" not in installed for installed in state.values())
    assert sum("transcription" in installed for installed in state.values()) == 40
    # A new plan shows the current price, and can be applied.
    again = await fleet.apply(
        priced.source, priced.desired, journal=tmp_path / "journal", approve=lambda plan: True
    )
    assert again.writes == {"done": 82}


async def test_prices_are_read_once_more_after_the_approval_and_not_for_each_account(
    priced: Priced, tmp_path: Path
) -> None:
    def approve(plan: fleet.PlanReport) -> bool:
        priced.emulator.log.clear()
        return True

    await fleet.apply(priced.source, priced.desired, journal=tmp_path / "journal", approve=approve)
    assert sorted(priced.reads()) == sorted(
        f"/v1/{kind}/{sid}"
        for kind in ("AvailableAddOns", "Listing")
        for sid in (SPAM_SCORE, TRANSCRIPTION)
    )
    priced.emulator.log.clear()
    unchanged = await fleet.apply(
        priced.source, priced.desired, journal=tmp_path / "journal", approve=approve
    )
    assert unchanged.plan.acceptances == ()
    # Without an installation there is nothing to accept, so nothing is read again.
    assert priced.reads().count(f"/v1/Listing/{SPAM_SCORE}") == 1


def _installs(file: Path) -> list[dict[str, Any]]:
    return [
        step
        for line in lines(file)
        for step in line.get("account", {}).get("steps", ())
        if step["action"] == "install"
    ]


ADD_ON = AvailableAddOn(sid=SPAM_SCORE, pricing_type="per minute")


@pytest.mark.parametrize(
    ("listing", "price", "terms"),
    [
        (None, "per minute", "not stated by the service"),
        (Listing(sid=SPAM_SCORE), "per minute", "not stated by the service"),
        (Listing(sid=SPAM_SCORE, policies={}), "per minute", "not stated by the service"),
        (Listing(sid=SPAM_SCORE, policies={"legal": ""}), "per minute", "legal"),
        (Listing(sid=SPAM_SCORE, policies={"a": {"b": 1}}), "per minute", '{"a":{"b":1}}'),
        (
            Listing(sid=SPAM_SCORE, pricing={"body": "a\n\x1b[2J  b\u202e"}),
            r"per minute; a \x1b[2J b\u202e",
            "not stated by the service",
        ),
    ],
)
def test_an_offer_says_what_the_service_states_and_no_more(
    listing: Listing | None, price: str, terms: str
) -> None:
    offer = offer_of(ADD_ON, listing)
    assert (offer.price_text, offer.terms_text.strip()) == (price, terms.strip())
    assert len(json.dumps(attrs.asdict(offer))) < 2000


def test_the_digest_covers_what_the_texts_leave_out() -> None:
    long = [{"body": "x" * 1000 + end} for end in "ab"]
    before, after = (offer_of(ADD_ON, Listing(sid=SPAM_SCORE, policies=one)) for one in long)
    assert before.terms == after.terms
    assert before != after
    assert offer_changes(before, after) == "details of the price or terms of the Add-on"
    assert offer_changes(None, after) == "the price and terms of the Add-on"
    # An empty listing is equivalent to no listing.
    assert offer_of(ADD_ON, Listing(sid=SPAM_SCORE, policies={})) == offer_of(ADD_ON, None)
