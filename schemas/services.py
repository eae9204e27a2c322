"""Discovery of services on NATS (ADR-32): each worker is an instance of the service, and its requests are endpoints."""

from pydantic import Field

from .enums import DescribedEnum
from .wire import Input, Message, Time

SERVICE_NAME = "natscribe"


class Verb(DescribedEnum):
    """What a program that discovers services asks for."""

    PING = "PING", "Which instances are there?"
    INFO = "INFO", "Which requests do they take?"
    STATS = "STATS", "How many requests has each instance handled?"


class DiscoveryRequest(Input):
    """A request of a program that discovers services; it has no fields, and its body may be empty."""


class _Instance(Message):
    name: str = Field(SERVICE_NAME, description="Name of the service.", examples=[SERVICE_NAME])
    id: str = Field(description="Id of the instance.", examples=["b1f2c3d4e5f60718293a4b5c6d7e8f90"])
    version: str = Field(description="Version of the service.", examples=["0.3.0"])
    metadata: dict[str, str] = Field(
        description="`worker`: the worker's name.", examples=[{"worker": "gpu-1-4711-9f3c"}]
    )


class ServicePing(_Instance):
    """An instance of the service, i.e. a worker."""

    type: str = Field("io.nats.micro.v1.ping_response", description="Type of the message.")


class Endpoint(Message):
    """A request that the service takes."""

    name: str = Field(description="Id of the operation in this document.", examples=["askStatus"])
    subject: str = Field(description="Subject of the request.", examples=["tasks.status"])
    queue_group: str = Field(description="Queue group; empty: each worker replies.", examples=["natscribe"])
    metadata: dict[str, str] | None = Field(None, description="Always null.")


class ServiceInfo(_Instance):
    """An instance of the service, and the requests that it takes."""

    type: str = Field("io.nats.micro.v1.info_response", description="Type of the message.")
    description: str = Field("Transcribes and diarizes recordings and live audio.", description="What it does.")
    endpoints: list[Endpoint] = Field(description="The requests.")


class EndpointStats(Endpoint):
    """A request that the service takes, and how often an instance has handled it since its start."""

    num_requests: int = Field(description="Handled requests, with those that failed.", examples=[12])
    num_errors: int = Field(description="Requests with an error as their reply.", examples=[1])
    last_error: str = Field(description="Code or type of the last error; empty: none.", examples=["not_found"])
    processing_time: int = Field(description="Duration of all requests in nanoseconds.", examples=[48_000_000])
    average_processing_time: int = Field(description="Mean duration in nanoseconds.", examples=[4_000_000])
    data: None = Field(None, description="Always null.")


class ServiceStats(_Instance):
    """An instance of the service, and how often it has handled each request since its start."""

    type: str = Field("io.nats.micro.v1.stats_response", description="Type of the message.")
    started: Time = Field(description="When the instance started.")
    endpoints: list[EndpointStats] = Field(description="The requests.")
