"""Restoration: put back the settings of a stream or consumer that the service needs and that somebody has changed."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

import structlog
from nats.js.errors import APIError
from natscribe.schemas.workers import Problem

from app.stream_guard.advisories import ALREADY_THERE
from app.stream_guard.differences import Difference

UNKNOWN: Final = "unknown"  # who has changed a stream, if no advisory has named the client
CHANGE_REPLICAS: Final = "nats stream edit {stream} --replicas {replicas}"
NOT_FOUND, UNAVAILABLE = 404, 503  # codes of errors that pass

Change = Callable[[Mapping[str, object]], Awaitable[None]]
log = structlog.get_logger()


def is_refusal(error: APIError) -> bool:
    """Return whether NATS has refused a request for good; if False, the request can be repeated.

    It is False, too, if a worker or an operator has created or deleted the stream at the same moment.
    """
    return bool(error.err_code) and error.code not in {NOT_FOUND, UNAVAILABLE} and error.err_code != ALREADY_THERE


async def restore(
    what: str, differences: Sequence[Difference], change: Change, *, mend: str, by: str | None
) -> Problem | None:
    """Put back the settings that the service needs; return None, or what is wrong if NATS refuses that.

    `what` is what differs, in words; `change` gives settings to NATS, by their names; `mend` says what a person can do
    after a refusal; `by` is the client that has changed the settings. All differences are logged.

    Raises:
        NatsError: NATS does not answer.
    """
    needed = {each.setting: each.wanted for each in differences if each.needed}
    if not needed:
        _log(differences)
        return None
    name, who = differences[0].of, by or UNKNOWN
    try:
        await change(needed)
    except APIError as error:
        if not is_refusal(error):
            raise
        log.error("settings_not_restored", of=name, settings=sorted(needed), by=who, reason=error.description)  # noqa: TRY400 -- the reason is for operators, and needs no traceback
        _log(differences)
        text = f"{what} is not as the service needs it ({', '.join(needed)}), and NATS refuses to change it"
        return Problem(what=f"{text}: {error.description}", next_step=mend)
    log.warning("settings_restored", of=name, settings=sorted(needed), by=who)
    _log(each for each in differences if not each.needed)
    return None


def _log(differences: Iterable[Difference]) -> None:
    for of, setting, wanted, found, _ in differences:
        hint = {"change": CHANGE_REPLICAS.format(stream=of, replicas=wanted)} if setting == "num_replicas" else {}
        log.warning("configuration_difference_found", of=of, setting=setting, wanted=wanted, found=found, **hint)
