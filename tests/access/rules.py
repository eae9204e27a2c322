"""The permissions of each user, from docs/access.md and from the server's configuration."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import yaml

from tests.access.servers import DEPLOY, USERS

DOCUMENT = DEPLOY.parent / "docs/access.md"


@dataclass
class Rules:
    """The subjects that a user may publish and subscribe to, and those it may not publish."""

    publish: set[str] = field(default_factory=set)
    subscribe: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    def may(self, action: str, subject: str) -> bool:
        if action == "subscribe":
            return any(covers(pattern, subject) for pattern in self.subscribe)
        allowed = any(covers(pattern, subject) for pattern in self.publish)
        return allowed and not any(covers(pattern, subject) for pattern in self.refused)


def documented() -> dict[str, Rules]:
    rules = {user: Rules() for user in USERS}
    for row in re.findall(r"^\| `(.+?)` \|(.+)\|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE):
        cells = [cell.strip() for cell in row[1].split("|")]
        if not set(cells) <= {"p", "s", "ps", "x", "-"}:
            continue  # the table of users
        for user, cell in zip(USERS, cells, strict=True):
            for mark, patterns in zip("psx", vars(rules[user]).values(), strict=True):
                if mark in cell:
                    patterns.update(spelt_out(row[0]))
    return rules


def configured() -> dict[str, Rules]:
    """In the words of each account, into which it maps those of its clients."""
    rules = {}
    for user in (user for account in accounts().values() for user in account["users"]):
        publish, subscribe = user["permissions"]["publish"], user["permissions"]["subscribe"]
        assert set(subscribe) == {"allow"}
        assert set(publish) <= {"allow", "deny"}
        rules[user["user"]] = Rules(set(publish["allow"]), set(subscribe["allow"]), set(publish.get("deny", ())))
    return rules


def accounts() -> dict[str, Any]:
    """The accounts by their names, as the server reads them."""
    text = (DEPLOY / "nats/accounts.conf").read_text(encoding="utf-8")
    result: dict[str, Any] = yaml.safe_load(text)["accounts"]
    return result


def account_of(user: str) -> dict[str, Any]:
    """The account that a user is in."""
    matching: dict[str, Any]
    (matching,) = (
        account
        for account in accounts().values()
        if user in {account_user["user"] for account_user in account["users"]}
    )
    return matching


def mapped(user: str, patterns: set[str]) -> set[str]:
    """What a user publishes, as its account maps it."""
    mappings = account_of(user).get("mappings", {})
    return {_mapped(mappings, pattern) for pattern in patterns}


def _mapped(mappings: dict[str, str], pattern: str) -> str:
    for source, destination in mappings.items():
        tokens, source_parts = pattern.split("."), source.split(".")
        if not covers(source, pattern):
            continue
        wild = iter(token for token, source_part in zip(tokens, source_parts, strict=False) if source_part == "*")
        rest = tokens[len(source_parts) - 1 :] if source_parts[-1] == ">" else []
        return ".".join([_token(word, wild) for word in destination.removesuffix(".>").split(".")] + rest)
    return pattern


def _token(word: str, wild: Iterator[str]) -> str:
    if word.startswith("{{random"):
        return "*"
    return next(wild) if word == "$1" or word.startswith("{{sliceFromLeft") else word


def spelt_out(pattern: str) -> Iterator[str]:
    """`a.{b,c}` is `a.b` and `a.c`."""
    parts = re.split(r"\{(.+?)\}", pattern)
    for chosen in product(*(part.split(",") if at % 2 else [part] for at, part in enumerate(parts))):
        yield "".join(chosen)


def covers(pattern: str, subject: str) -> bool:
    """Whether the pattern allows the subject; like the server, it takes `a.>` for covered by `a.*`."""
    tokens, subject_tokens = pattern.split("."), subject.split(".")
    for at, part in enumerate(tokens):
        if part == ">":
            return len(subject_tokens) > at
        if at >= len(subject_tokens) or part not in ("*", subject_tokens[at]):
            return False
    return len(tokens) == len(subject_tokens)
