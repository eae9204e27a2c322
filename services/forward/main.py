"""The application: `FORWARD_RULES=rules.json faststream run services.forward.main:create_app --factory`."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from faststream import AckPolicy, FastStream
from faststream.nats import NatsBroker, PullSub
from nats.js.api import ConsumerConfig
from natscribe.faststream import ERASED, PROGRESS, broker, pull_inbox
from natscribe.settings import Settings

from services.forward.dead_letters import DeadLetters
from services.forward.forwarder import ACK_WAIT_S, Forwarder
from services.forward.requests import connections
from services.forward.rules import RulesError, read_rules

AT_ONCE = 16  # events of a rule that are sent, or wait for a repetition, at the same time


@dataclass(frozen=True)
class Deployment:
    """What the environment says: the rules in the file FORWARD_RULES, dead letters in FORWARD_FOLDER, and NATS."""

    settings: Settings
    natscribe: NatsBroker
    letters: DeadLetters
    forwarders: list[Forwarder]

    @classmethod
    def read(cls) -> "Deployment":
        """Read the environment and the rules.

        Raises:
            RulesError: The rules cannot be used.
        """
        rules = read_rules(Path(os.environ.get("FORWARD_RULES", "rules.json")))
        letters = DeadLetters(Path(os.environ.get("FORWARD_FOLDER", "dead_letters")))
        settings = Settings.read()
        natscribe = broker(settings)
        return cls(
            settings, natscribe, letters, [Forwarder(natscribe, settings.stream_names, rule, letters) for rule in rules]
        )


def create_app() -> FastStream:
    """Return the application; each rule has positions of its own in the streams of events."""
    try:
        deployment = Deployment.read()
    except RulesError as error:
        sys.exit(str(error))  # a sentence, without a traceback
    subscriber = partial(
        deployment.natscribe.subscriber,
        pull_sub=PullSub(batch_size=1),
        max_workers=AT_ONCE,
        ack_policy=AckPolicy.MANUAL,
        inbox_prefix=pull_inbox(deployment.settings),
        config=ConsumerConfig(ack_wait=ACK_WAIT_S, max_ack_pending=AT_ONCE),
    )
    for forwarder in deployment.forwarders:
        rule = forwarder.rule
        if rule.events & {"results", "progress"}:
            subscriber("progress.*", stream=PROGRESS, durable=f"forward_{rule.name}")(forwarder.ended)
        if "erased" in rule.events:
            subscriber("erased.*", stream=ERASED, durable=f"forward_{rule.name}")(forwarder.erased)

    @asynccontextmanager
    async def connected() -> AsyncIterator[None]:
        async with connections() as client:
            for forwarder in deployment.forwarders:
                forwarder.client = client
            yield

    return FastStream(deployment.natscribe, lifespan=connected)
