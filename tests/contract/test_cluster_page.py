"""The page on clusters names what the service makes."""

import re
from pathlib import Path

from app.settings import Settings
from app.storage.jetstream import streams
from app.storage.jetstream.objects import stream_of

PAGE = Path(__file__).parents[2] / "docs/cluster.md"


def test_the_page_on_clusters_names_all_streams() -> None:
    # Given the streams and buckets that the service makes
    settings = Settings(_env_file=None)
    created = {str(stream.name) for stream in streams.stream_configs(settings)}
    created |= {stream_of(str(bucket.bucket)) for bucket in streams.bucket_configs(settings)}
    # When the page says for which ones to change the number of replicas
    loop = re.search(r"^for stream in (.*); do$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert loop is not None
    # Then it names them all
    spelt = [f"{stem}{word}" for stem, words in re.findall(r"(\w+)\{([\w,]+)\}", loop[1]) for word in words.split(",")]
    assert set(spelt) == created
