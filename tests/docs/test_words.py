"""The project uses the words of its field. This test finds those that it no longer uses."""

import re
from collections.abc import Iterator

import pytest
from support.paths import PROJECT

# In a pattern, a space matches an underscore as well, as in the names of tests. Patterns with a
# capital letter are case-sensitive.
INSTEAD_OF = {
    "look ?ahead|looked ahead": "prefetch",
    "max_body=": "max_response_size",
    r"pace ?[=:]|--pace": "requests_per_second",
    "siblings?": "derived client",
    "lanes?": "account queue",
    r"slots?(?!__|=)": "permit",
    "give back|gives back|given back|gave back": "release, return",
    "budget=|longest=|(?<!_)backoff=": "max_elapsed, max_backoff, initial_backoff",
    "who asks|whoever|let in": "credentials, authenticated, authorized",
    "the vendor|the vendor's": "Twilio, the service",
    "tries|try again|tried again|tries again": "attempt, retry",
    "an answer that|answered with": "response",
    "refusals?": "throttled, rejected",
    "Moment|Handed|Told": "AwareDatetime, a noun",
    "nobody meets|meets it|no account meets": "matches",
    "its name for programs|its name for people": "unique name, display name",
    "a whole number from": "a positive integer",
    "time-outs?|time out that": "timeout",
    "anew|as it stands|at the most": "again, current, at most",
    "looking through|make it so|what it does not do": "logging, idempotent installs, limitations",
}


def lines() -> Iterator[tuple[str, str]]:
    files = [*({*PROJECT.glob("*.md")} - {PROJECT / "CHANGELOG.md"}), PROJECT / "noxfile.py"]
    files += sorted((PROJECT / "docs").rglob("*.md"))
    for folder in ("marketplace_async", "tests", "benchmarks", "examples", "docs"):
        files += sorted((PROJECT / folder).rglob("*.py"))
    for file in files:
        name = str(file.relative_to(PROJECT))
        if name != "tests/docs/test_words.py":
            for number, line in enumerate(file.read_text().splitlines(), 1):
                yield f"{name}:{number}", line


@pytest.mark.parametrize("words", INSTEAD_OF)
def test_an_old_word_is_not_used(words: str) -> None:
    flags = re.IGNORECASE if words.islower() else 0
    pattern = words.replace(" ", "[ _]").replace("[ _]?", "[ _-]?")
    search = re.compile(rf"(?<![A-Za-z])(?:{pattern})(?![A-Za-z])", flags).search
    found = [f"{place}: {line.strip()}" for place, line in lines() if search(line)]
    assert not found, f"write {INSTEAD_OF[words]} instead:\n" + "\n".join(found)
