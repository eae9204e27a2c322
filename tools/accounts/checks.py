"""What is wrong with the registry of channels: each problem names the entry, and says what to write."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from natscribe.jetstream.streams import stored_subjects
from natscribe.schemas.channels import CLIENTS, SERVICE, Channel

from tools.accounts.permissions import NAMES, STREAMS, expanded, patterns

USERS = {*SERVICE, *CLIENTS}  # for which accounts.conf has a user


def problems(channels: Sequence[Channel]) -> Iterator[str]:
    """Yield a line for each problem of the registry."""
    for channel in channels:
        roles = {*channel.publishers, *channel.subscribers}
        if not roles and not channel.stream:
            yield f"{channel.name}: no role uses {channel.subject}: write `publishers` or `subscribers` in its entry."
        for role in roles - USERS:
            yield f"{channel.name}: accounts.conf has no user {role}: write one in tools/accounts/configuration.py."
        yield from _storage(channel)
    for one, other in combinations(channels, 2):
        if any(_overlap(subject, second) for subject in expanded(one) for second in expanded(other)):
            both = f"{one.subject} and {other.subject}"
            yield f"{one.name} and {other.name}: {both} overlap: write another subject in one."
        if one.name == other.name:
            yield f"{one.subject} and {other.subject} have the same name {one.name}: write another one in one of them."


def _storage(channel: Channel) -> Iterator[str]:
    """Yield a problem if the stream of a channel does not exist, or does not store its messages."""
    if not channel.stream:
        return
    config = STREAMS.get(getattr(NAMES, channel.stream, ""))
    if config is None:
        yield f"{channel.name}: there is no stream `{channel.stream}`: write it in StreamNames and stream_configs()."
    elif not any(_overlap(pattern, stored) for pattern in patterns(channel) for stored in stored_subjects(config)):
        yield f"{channel.name}: {config.name} does not store {channel.subject}: write it in the stream's subjects."


def _overlap(pattern: str, other: str) -> bool:
    """Whether a subject matches both patterns."""
    tokens, others = pattern.split("."), other.split(".")
    for token, second in zip(tokens, others, strict=False):
        if ">" in (token, second):
            return True
        if token != second and "*" not in (token, second):
            return False
    return len(tokens) == len(others)
