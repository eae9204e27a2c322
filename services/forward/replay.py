"""Sends dead letters again: `FORWARD_RULES=rules.json python -m services.forward.replay`."""

import asyncio
import sys

from services.forward.main import Deployment
from services.forward.requests import connections

_GIVE_UP_AFTER_S = 10.0  # a person waits


async def replay() -> int:
    """Send each dead letter again, delete those that were sent, and return how many are left."""
    deployment, left = Deployment.read(), 0
    async with connections() as client, deployment.natscribe:
        for forwarder in deployment.forwarders:
            forwarder.client = client
            forwarder.rule = forwarder.rule.model_copy(update={"give_up_after_s": _GIVE_UP_AFTER_S})
        by_rule = {forwarder.rule.name: forwarder for forwarder in deployment.forwarders}
        for letter in [*deployment.letters.read()]:
            if letter.rule in by_rule and await by_rule[letter.rule].send_again(letter):
                deployment.letters.delete(letter)
            else:
                left += 1
    return left


if __name__ == "__main__":
    sys.stdout.write(f"{asyncio.run(replay())} dead letters are left.\n")
