"""Requests to JetStream are counted by kind."""

from benchmarks.api_requests import kind_of


def test_a_kind_has_no_name_of_a_stream_or_consumer() -> None:
    assert kind_of("$JS.API.STREAM.INFO.KV_leases") == "STREAM.INFO"
    assert kind_of("$JS.API.STREAM.MSG.GET.transcription_tasks") == "STREAM.MSG.GET"
    assert kind_of("$JS.API.CONSUMER.MSG.NEXT.transcription_tasks.worker") == "CONSUMER.MSG.NEXT"
    assert kind_of("$JS.API.DIRECT.GET.KV_voices.$KV.voices.a") == "DIRECT.GET"
