"""`redact`: personal data that is spoken in a recording or in live audio is nowhere, whoever looks for it."""

import io
import json
import re
from itertools import product

import pytest
from nats.aio.msg import Msg
from natscribe.schemas import subjects
from natscribe.schemas.progress import State
from natscribe.schemas.redaction import EntityType
from natscribe.schemas.requests import ResultFormat
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis.asyncio import Redis

from app.settings import Settings
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker
from tests.integration.live.test_live import Speaker
from tests.integration.messages.test_text_filters import FORMATS, cached, stored
from tests.waiting import DEADLINE, patiently

SPOKEN = {  # each value once, and what of it is nowhere
    EntityType.DATE: ("on 17/11/2031", r"11\D2031"),
    EntityType.CARD: ("card 4929 1333 8765 1204", r"4929.1333|1333.8765|8765.1204"),
    EntityType.PHONE: ("call +1 (555) 813-9427", r"813.9427"),
    EntityType.EMAIL: ("write to xaver.quint@example.com", "xaver|quint"),
    EntityType.BANK_ACCOUNT: ("the IBAN DE89 3704 0044 0532 0130 00", r"DE89|3704.0044|0044.0532|0532.0130"),
    EntityType.NATIONAL_ID: ("my social is 731-26-8459", r"731-26|26-8459"),
    EntityType.ADDRESS: ("I live at 77 Quokka Street", "Quokka"),
    EntityType.DATE_OF_BIRTH: ("date of birth: 23 May 1961", "May.1961"),
    EntityType.URL: ("see www.zyzzyva.com", "zyzzyva"),
    EntityType.USERNAME_PASSWORD: ("the password is Wq7xZz", "Wq7xZz"),
    EntityType.PERSON: ("Zelda Ypsilon called", "Zelda|Ypsilon"),
    EntityType.NUMBER: ("order 60471836", "60471836"),
}
TEXT = ". ".join(words for words, _ in SPOKEN.values())
MARKS = re.compile("|".join(mark for _, mark in SPOKEN.values()).encode())
LABELS = {f"[{type_.upper()}]" for type_ in SPOKEN}
REDACT = {"entities": ["all"]}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"cache_ttl": 3600.0})


@pytest.fixture
def engine() -> FakeEngine:
    engine = FakeEngine()
    engine.text = TEXT
    engine.names = ["Zelda Ypsilon"]
    return engine


@pytest.mark.foreign  # with traces, replies have a header of theirs
@pytest.mark.parametrize("headroom", [0.1, 1.0], ids=["results as messages", "results as objects"])
async def test_what_a_task_redacts_is_in_no_stream_object_key_log_or_trace(
    headroom: float,
    constants: Constants,
    start_worker: StartWorker,
    engine: FakeEngine,
    publisher: Publisher,
    binary_redis: Redis,
    log: io.StringIO,
) -> None:
    nc, speaker, seen = publisher.nc, Speaker(publisher), list[tuple[str, bytes]]()

    async def note(message: Msg) -> None:
        seen.append((message.subject, message.data))

    # Given clients that receive all messages, and a worker that is traced
    await nc.subscribe(">", cb=note)
    constants(HEADROOM_BYTES=int(headroom * nc.max_payload))
    spans, traces = InMemorySpanExporter(), TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(spans))
    async with start_worker(engine, traces) as worker:
        # When it transcribes recordings, with words, with speakers, and from the cache; and live audio
        options: dict[str, dict[str, object]] = {
            "plain": {},
            "words": {"word_timestamps": True},
            "diarized": {"diarize": True},
            "cached": {},
            "digits": {"numbers": "digits"},
        }
        for task_id, of_task in options.items():
            await publisher.reaching(State.COMPLETED, task_id, redact=REDACT, **of_task)
        await speaker.begin(turns=True, redact=REDACT | {"partials": True})
        await speaker.say(15)
        await speaker.ends(1)
        # And clients request the results
        for task_id, form in product([*options, speaker.task_id], FORMATS):
            body = json.dumps({"task_id": task_id, "format": form}).encode()
            reply = await nc.request(subjects.RESULT, body, timeout=patiently(DEADLINE))
            seen.append((f"reply {form}", reply.data))
            result = json.loads(reply.data) if form is ResultFormat.JSON else None
            if result and result["object"] is None:
                # Then each result has all labels, and lists what was replaced
                assert {label for label in LABELS if label in result["text"]} == LABELS
                assert {entity["type"] for entity in result["entities"]} == set(SPOKEN)
        metrics = worker.container.meter.exposition()
    # And nothing of it is anywhere as it was spoken
    seen += [item async for item in stored(publisher.js)]
    seen += [item async for item in cached(binary_redis)]
    seen += [("log", log.getvalue().encode()), ("metrics", metrics)]
    seen += [("trace", span.to_json().encode()) for span in spans.get_finished_spans()]
    assert {(place, found) for place, body in seen if (found := MARKS.search(body))} == set()
    # But the labels are where text is
    places = {place.split(".")[0] for place, body in seen if b"[CARD]" in body}
    assert {"segments", "turns", "$O" if headroom == 1 else "results"} <= places
    assert any(place.startswith("redis") for place in places)
    assert b'natscribe_redacted_entities_total{type="card"}' in metrics
