"""A plan as Markdown: complete if there is room, and safe with any names."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from support.fleet import SPAM_SCORE, VOICEBASE, Fleet

from marketplace_async import fleet
from marketplace_async.fleet.markdown_text import MARK, MAX_LENGTH

READER = MarkdownIt("commonmark", {"html": True}).enable("table")
HOSTILE = [
    "@octocat",
    "a|b|c",
    "``` x ` y",
    "\\| \\",
    "<script>alert(1)</script><!--",
    "</code><img src=x onerror=alert(1)>",
    "https://evil.example www.evil.example me@evil.example #1 octo/repo#2",
    "[a](https://evil.example) ![b](c) **bold**",
    "line\n\n| x | y |\n# head\r\n- [ ] task",
    "\x1b[2J\u202eabc\ud800",
    "&#64;octocat &lt;b&gt;",
    "  ",
]


def text_of(tokens: list[Token]) -> list[Token]:
    return [inner for token in tokens for inner in (token, *(token.children or ()))]


def check(markdown: str) -> list[list[str]]:
    """Return the cells of all tables, after a check that names only occur as code."""
    tokens = text_of(READER.parse(markdown))
    allowed = {MARK, "<br>", "<code>", "</code>"}
    html = {token.content.strip() for token in tokens if token.type.startswith("html_")}
    assert html <= allowed, html
    assert not {token.type for token in tokens} & {"link_open", "image", "fence", "code_block"}
    inside = False
    for token in tokens:
        if token.type == "html_inline":
            inside = token.content == "<code>" if "code" in token.content else inside
        elif token.type == "text" and not inside:
            assert not set("@#|`<>") & set(token.content), token.content
        elif token.type == "text":  # GitHub finds mentions and links after it has parsed the text
            assert not re.search(r"[@#:.][^\u200b]", token.content), token.content
    rows: list[list[str]] = []
    width = 0
    for token in tokens:
        if token.type == "table_open":
            width = 0
        elif token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            rows[-1].append("")
        elif token.type == "tr_close":
            width = width or len(rows[-1])
            assert len(rows[-1]) == width
        elif token.type == "inline" and rows and width != -1 and rows[-1]:
            rows[-1][-1] = token.content
    return rows


def report_of(
    *groups: fleet.Group, failures: tuple[fleet.Failure, ...] = (), unmatched: tuple[str, ...] = ()
) -> fleet.PlanReport:
    return fleet.PlanReport(
        counts=fleet.Counts(done=5, failed=len(failures)),
        to_change=5,
        steps=sum(group.accounts for group in groups),
        groups=groups,
        failures=fleet.Failures(len(failures), failures, None),
        unmatched=unmatched,
        complete=True,
        acceptances=tuple(
            fleet.Acceptance(
                available_add_on_sid=group.available_add_on_sid,
                unique_names=(group.unique_name,),
                offer=fleet.Offer(
                    pricing_type=group.unique_name, terms=group.unique_name, digest="x"
                ),
                accounts=1,
            )
            for group in groups
            if group.action == "install"
        ),
    )


def group_of(name: str, action: str = "install", accounts: int = 1) -> fleet.Group:
    return fleet.Group(
        action=action,  # type: ignore[arg-type]
        unique_name=name,
        available_add_on_sid=SPAM_SCORE,
        extension=None,
        accounts=accounts,
        examples=(fleet.Target("AC1", name),),
        changes=Counter({f"+ {name} = {name}": accounts}),
        also_installed=Counter({name: 1}),
    )


async def test_a_plan_is_a_summary_for_a_pull_request(shops: Fleet) -> None:
    report = await fleet.plan(shops.source, shops.desired)
    markdown = fleet.plan_markdown(report)
    head, removals, totals, prices, steps = markdown.split("\n## ")[1].split("\n### ")
    assert head.startswith("Plan: 151 steps to do on 41 of 41 accounts")
    assert removals.startswith("Removes 29 installed Add-ons\n\n- remove `voicebase_transcription`")
    assert "and 26 more" in removals
    assert totals.startswith("Totals")
    assert "| install | 81 |" in totals
    assert (
        f"| `transcription`<br>`{'XB85b56ed9ce713e0ac62342b901233193'}` | `per minute` "
        "| `not stated by the service` | 40 |" in prices
    )
    assert "| install `spam-score` | 41 |" in steps
    assert "very-secret" not in markdown
    check(markdown)
    assert VOICEBASE not in prices


def test_a_plan_without_changes_says_so() -> None:
    markdown = fleet.plan_markdown(report_of())
    assert markdown == f"{MARK}\n## Plan: nothing to do on 5 accounts\n"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_code_and_nothing_else(name: str) -> None:
    failure = fleet.Failure(name, name, name, name)
    report = report_of(
        group_of(name), group_of(name, "remove"), failures=(failure,), unmatched=(name,)
    )
    markdown = fleet.plan_markdown(report)
    # Heads and rows: totals, prices, steps and failures.
    assert len(check(markdown)) == (1 + 2) + (1 + 1) + (1 + 2) + (1 + 1)


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=60) | st.lists(st.sampled_from(HOSTILE)).map("".join))
def test_no_name_breaks_the_tables(name: str) -> None:
    failure = fleet.Failure(name, name, name, name)
    report = report_of(group_of(name), group_of(name, "remove"), failures=(failure,))
    check(fleet.plan_markdown(report))


@pytest.mark.parametrize("limit", [2_000, 5_000, MAX_LENGTH])
def test_what_does_not_fit_is_counted(limit: int) -> None:
    groups = [group_of(f"n{number}-" + "\U0001f600" * 90) for number in range(1_000)]
    groups += [group_of(f"r{number}-" + "|" * 90, "remove") for number in range(1_000)]
    failures = tuple(fleet.Failure(f"AC{n}", "x" * 300, "E", "|" * 300) for n in range(100))
    report = report_of(*groups, failures=failures, unmatched=("|" * 200,) * 500)
    markdown = fleet.plan_markdown(report, max_length=limit)
    assert len(markdown.encode("utf-16-le")) // 2 <= limit
    check(markdown)
    left_out = [int(one.replace(",", "")) for one in re.findall(r"_([\d,]+) more", markdown)]
    shown = len([one for one in markdown.splitlines() if re.match(r"- |\| [^-s]", one)])
    # Removals, totals, prices, steps, failures and messages, and the heads of the tables.
    heads = len(re.findall(r"^\| (?:Add-on|account) ", markdown, re.MULTILINE))
    totals = 2
    assert sum(left_out) + shown - heads == 1_000 + totals + 1_000 + 2_000 + 100 + 500


def test_a_limit_without_room_is_rejected() -> None:
    with pytest.raises(ValueError, match="must be at least 2,000, got 10"):
        fleet.plan_markdown(report_of(), max_length=10)
