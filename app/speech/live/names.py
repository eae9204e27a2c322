"""Names live speakers: compares those who have spoken long enough with the voices that the user has enrolled."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog
from nats.errors import Error as NatsError
from natscribe.schemas.voices import SpeakerVoice

from app.engines.diarization import VOICE_NETWORK
from app.runtime.errors import FencedError, TaskError
from app.speech.live.source import LiveSource
from app.speech.live.speakers import Speakers
from app.speech.voices.identification import NOBODY, Identification
from app.storage.jetstream.records import UnreadableError

MIN_SPEECH_S = 4.5  # a speaker with less speech is not named yet, because a published name should not change
POLL_EVERY_S = 0.1

log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class LiveNames:
    """Identifies the speakers of one live task among the user's enrolled voices while the task runs.

    The outcome for a speaker is the voice that matches, or that no voice matches. `source`: has the speakers so far.
    `report` is called when outcomes have changed, with the changed ones by speaker label. `published`: the outcomes
    that earlier attempts at the task have reported.
    """

    user_id: int | str
    source: LiveSource
    identification: Identification
    report: Callable[[Mapping[str, SpeakerVoice]], Awaitable[None]]
    published: dict[str, SpeakerVoice]

    async def run(self) -> None:
        """Compare the speakers with the enrolled voices whenever diarization has new speech; report changed outcomes.

        Return when the audio has ended and the last comparison is done, or when another worker runs the task.
        """
        compared: Speakers | None = None
        while not self.source.ended or self.source.speakers is not compared:
            speakers = self.source.speakers
            if speakers is not None and speakers is not compared:
                compared = speakers
                try:
                    await self.publish(await self._voices(speakers))
                except (NatsError, UnreadableError, TaskError) as error:  # with the next news there is another attempt
                    log.warning("live_speakers_not_compared", error=type(error).__name__)
                except FencedError:  # the task's own appends report it
                    return
            await asyncio.sleep(POLL_EVERY_S)

    async def publish(self, voices: Mapping[str, SpeakerVoice]) -> None:
        """Report the outcomes in `voices` (by speaker label) that differ from what was reported for the speaker before.

        Raises:
            FencedError: Another worker runs the task.
            TransientError: JetStream does not reply.
        """
        changed = {
            label: voice for label, voice in voices.items() if voice.voice != self.published.get(label, NOBODY).voice
        }
        if changed:
            await self.report(changed)
            self.published |= changed

    async def _voices(self, speakers: Speakers) -> Mapping[str, SpeakerVoice]:
        embedded = [channel.embedded for channel in speakers.values() if channel.embedded is not None]
        if not embedded:
            return {}
        people = [person for channel in embedded for person in channel.speakers]
        labels = [
            person.speaker
            for person in people
            if person.seconds >= MIN_SPEECH_S and person.agreement >= VOICE_NETWORK.min_agreement
        ]
        together = embedded[0].model_copy(update={"speakers": people})
        outcome = await self.identification.compare(self.user_id, together, labels)
        return outcome.voices or {}
