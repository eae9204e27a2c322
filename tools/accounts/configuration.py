"""The text of accounts.conf: accounts, what they export and import, and the permissions of their users."""

from collections.abc import Iterable, Iterator
from string import Template
from textwrap import indent, wrap
from typing import Final

from natscribe.schemas.channels import CHANNELS, CLIENTS, Event, Role

from tools.accounts.permissions import (
    API,
    MAPPED,
    Group,
    denied,
    denied_consumers,
    of_client,
    of_service,
    patterns,
    subscribed,
)

WIDTH: Final = 118
CONSUMER_NAME_LENGTH: Final = 32  # of clients, by the mappings; the service's consumers have longer names
HEADER: Final = """\
# Who may do what. `make spec` writes this file from schemas/channels.py and tools/accounts; docs/access.md explains it,
# and a test tries each cell of its tables on a server. Passwords come from the environment. Each user receives replies
# below its own inbox prefix. This file is valid YAML, too.
#
# The server sends a reply to any subject that the request names, without a check of permissions. So each kind of client
# has its own account: its reply subjects belong to that account, and lead only to what the account imports. JetStream's
# subjects are imported below $JS.ACK, which the server refuses as reply subjects; the mappings lead there. They cut the
# names of consumers off after 32 characters, and choose a name if the subject has none: the service's consumers have
# longer names, so no reply and no body can name them. No two mappings may overlap.
"""
ACCOUNTS: Final = Template("""\
system_account: SYS

accounts: {
  NATSCRIBE: {
    jetstream: enabled,
    exports: [ # each account below imports only what its user may do
$exports
    ],
    imports: [
      { service: { account: SYS, subject: "$$SYS.REQ.SERVER.PING.JSZ" } },
    ],
    users: [
$service
      { # for people who change streams
$admin
    ],
  },
$clients
  SYS: {
    exports: [ # sizes and limits of JetStream, for the metrics of the workers
      { service: "$$SYS.REQ.SERVER.PING.JSZ", response_type: stream, threshold: "10s", accounts: [NATSCRIBE] },
    ],
    users: [
$monitoring
    ],
  },
}
""")
CLIENT: Final = Template("""\
  $account: {
    mappings: { # a request may not name these as reply subjects
      "$$JS.API.STREAM.>": "$$JS.ACK.natscribe.STREAM.>",
      "$$JS.API.CONSUMER.INFO.>": "$$JS.ACK.natscribe.CONSUMER.INFO.>",
      "$$JS.API.CONSUMER.CREATE.*": "$$JS.ACK.natscribe.CONSUMER.CREATE.$$1.{{random(2147483647)}}",
      "$$JS.API.CONSUMER.CREATE.*.*": "$$JS.ACK.natscribe.CONSUMER.CREATE.$$1.{{sliceFromLeft(2,32)}}",
      "$$JS.API.CONSUMER.CREATE.*.*.>": "$$JS.ACK.natscribe.CONSUMER.CREATE.$$1.{{sliceFromLeft(2,32)}}.>",
      "$$JS.API.CONSUMER.DELETE.*.*": "$$JS.ACK.natscribe.CONSUMER.DELETE.$$1.{{sliceFromLeft(2,32)}}",
      "$$JS.API.CONSUMER.MSG.NEXT.*.*": "$$JS.ACK.natscribe.CONSUMER.MSG.NEXT.$$1.{{sliceFromLeft(2,32)}}",
    },
    imports: [
$imports
    ],
    users: [
$user
    ],
  },
""")
USER: Final = Template("""\
      {
        user: $user,
        password: $$NATS_${variable}_PASSWORD,
        permissions: {
          publish: {
            allow: [
$publish
            ],$deny
          },
          subscribe: { allow: [
$subscribe
          ] },
        },
      },
""")
DENY: Final = Template("""
            deny: [ # the service's consumers, by their full names and cut off
$denied
            ],""")
# What the account of the service exports; one reply is expected, if nothing else is said.
EXPORTED: Final = {
    "tasks.>": "",
    "workers.info": 'response_type: stream, threshold: "10s", ',
    "$SRV.>": 'response_type: stream, threshold: "10s", ',
    "dead_letters.replay": "",
    "dead_letters.delete": "",
    "$KV.quotas.*": "",
    "live.audio.*": "",
    "voices.*": "",
    "text.redact": "",
    "$O.audio.>": "",
    "$JS.ACK.>": "",
    "$JS.FC.>": "",
    "$JS.API.STREAM.>": "",
    "$JS.API.CONSUMER.INFO.>": "",
    "$JS.API.CONSUMER.CREATE.>": "",
    "$JS.API.CONSUMER.DELETE.>": "",
    "$JS.API.CONSUMER.MSG.NEXT.>": 'response_type: stream, threshold: "2m", ',
    "$JS.API.DIRECT.GET.>": 'response_type: stream, threshold: "10s", ',
}
ADMIN: Final = (
    *("$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST"),
    *("$JS.API.STREAM.INFO.*", "$JS.API.STREAM.UPDATE.*"),
)
ADVISORIES: Final = ("$JS.EVENT.ADVISORY.API",)
MONITORING: Final = tuple(f"$SYS.REQ.SERVER.PING{what}" for what in ("", ".HEALTHZ", ".JSZ", ".STATSZ", ".VARZ"))


def configuration() -> str:
    """Return the text of accounts.conf.

    Raises:
        LookupError: A client needs a subject that the account of the service does not export.
    """
    admin = _user("admin", [Group("", ADMIN)], ("_INBOX_admin.>",))
    return HEADER + ACCOUNTS.substitute(
        exports="\n".join(_exports()),
        service=_user("service", of_service(), ("_INBOX.>", *subscribed(Role.SERVICE), *ADVISORIES)),
        admin=admin.removeprefix("      {\n"),
        clients="".join(map(_client, CLIENTS)).rstrip("\n"),
        monitoring=_user("monitoring", [Group("", MONITORING)], ("_INBOX_monitoring.>",)),
    )


def _exports() -> Iterator[str]:
    roles_by_export: dict[str, list[Role]] = {pattern: [] for pattern in EXPORTED}
    for role in CLIENTS:
        for pattern in {_export_of(subject) for group in of_client(role) for subject in group.subjects}:
            roles_by_export[pattern].append(role)
    for pattern, roles in roles_by_export.items():
        yield _fitted(f'{{ service: "{pattern}", {EXPORTED[pattern]}', f"accounts: [{_accounts(roles)}] }},")
    for channel in CHANNELS:
        if isinstance(channel, Event):
            clients = [role for role in CLIENTS if role in channel.subscribers]
            for pattern in patterns(channel):
                yield f'      {{ stream: "{pattern}", accounts: [{_accounts(clients)}] }},'
    for role in CLIENTS:
        yield f'      {{ stream: "_INBOX_{role}.>", accounts: [{role.upper()}] }}, # deliveries of its consumers'


def _export_of(subject: str) -> str:
    for pattern in EXPORTED:
        if pattern == subject or (pattern[-1] in "*>" and subject.startswith(pattern[:-1])):
            return pattern
    message = f"{subject} is not exported: add it to EXPORTED in tools/accounts/configuration.py."
    raise LookupError(message)


def _accounts(roles: Iterable[Role]) -> str:
    return ", ".join(role.upper() for role in roles)


def _client(role: Role) -> str:
    return CLIENT.substitute(
        account=role.upper(),
        imports="\n".join(_imports(role)),
        user=_user(role, [_as_mapped(group) for group in of_client(role)], _received(role), _denied(role)),
    )


def _denied(role: Role) -> tuple[str, ...]:
    """Return the requests about the service's consumers, by their full names and cut off."""
    cut_off = (f"{MAPPED}CONSUMER.CREATE.*.{name[:CONSUMER_NAME_LENGTH]}.>" for name in denied_consumers(role))
    return tuple(dict.fromkeys((*map(_mapped, denied(role)), *cut_off)))


def _imports(role: Role) -> Iterator[str]:
    for group in of_client(role):
        yield f"      # {group.comment}"
        for subject in group.subjects:
            imported = f'{{ service: {{ account: NATSCRIBE, subject: "{subject}" }}'
            if (mapped := _mapped(subject)) == subject:
                yield f"      {imported} }},"
            else:
                yield _fitted(f"{imported}, ", f'to: "{mapped}" }},')
    yield "      # events, and deliveries of consumers"
    for subject in _received(role):
        yield f'      {{ stream: {{ account: NATSCRIBE, subject: "{subject}" }} }},'


def _received(role: Role) -> tuple[str, ...]:
    return f"_INBOX_{role}.>", *subscribed(role)


def _mapped(subject: str) -> str:
    """Return the subject to which the account of a client maps a request of JetStream's API; others stay the same."""
    rest = subject.removeprefix(API)
    return MAPPED + rest if rest.startswith(("STREAM.", "CONSUMER.")) else subject


def _as_mapped(group: Group) -> Group:
    """Return a group as a client may publish it: a mapping gives each new consumer a name."""
    mapped = [_mapped(subject) for subject in group.subjects]
    named = [subject[:-1] + "*" for subject in mapped if "CONSUMER.CREATE." in subject]
    return Group(group.comment, (*mapped, *named))


def _user(name: str, publish: Iterable[Group], subscribe: tuple[str, ...], deny: tuple[str, ...] = ()) -> str:
    return USER.substitute(
        user=name,
        variable=name.upper(),
        publish="\n".join(_listed(group, " " * 14) for group in publish),
        deny=DENY.substitute(denied=_listed(Group("", deny), " " * 14)) if deny else "",
        subscribe=_listed(Group("", subscribe), " " * 12),
    ).rstrip("\n")


def _listed(group: Group, margin: str) -> str:
    words = " ".join(f'"{subject}",' for subject in group.subjects)
    lines = wrap(words, WIDTH - len(margin), break_long_words=False, break_on_hyphens=False)
    return indent("\n".join([*([f"# {group.comment}"] if group.comment else []), *lines]), margin)


def _fitted(first: str, rest: str) -> str:
    """Return an entry of a list on one line, or on two if it is too long."""
    one = f"      {first}{rest}"
    return one if len(one) <= WIDTH else f"      {first.rstrip()}\n        {rest}"
