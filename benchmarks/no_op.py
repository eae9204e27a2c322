"""The service with a transcriber that does nothing: this measures the cost of the service itself."""

from benchmarks.scripted import scripted_worker

app = scripted_worker(seconds=0.0).app
