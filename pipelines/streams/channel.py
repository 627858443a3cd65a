"""The line between a training's workers, its stream and the driver.

Workers tell the driver what happens (steps, epochs, refusals) and tell the stream where to start.
The driver is the only one that writes to MLflow, and it sees each epoch once: an epoch that a
restart repeats has been seen before.
"""

from typing import Any, cast

import ray
from ray.actor import ActorHandle

from components.records.epoch_plan import Segment

Event = dict[str, Any]


class Channel:
    """Holds what was said until it is read; lives as long as the driver holds it."""

    def __init__(self) -> None:
        """Start empty."""
        self._events: list[Event] = []
        self._refusal: tuple[str, str] | None = None
        self._start: tuple[Segment, int] | None = None

    def send(self, event: Event) -> None:
        """Leave an event for the driver."""
        self._events.append(event)

    def take(self) -> list[Event]:
        """Everything since the last call, in order."""
        events, self._events = self._events, []
        return events

    def refuse(self, kind: str, reason: str) -> None:
        """Say that this training cannot go on, however often it is started again.

        Args:
            kind: Name of a class in `components.errors`.
            reason: Its message.
        """
        self._refusal = self._refusal or (kind, reason)

    def refusal(self) -> tuple[str, str] | None:
        """Why this training cannot go on, (kind, reason), or None."""
        return self._refusal

    def start_at(self, segment: Segment, world_size: int) -> None:
        """Tell the stream where its next execution starts."""
        self._start = (segment, world_size)

    def start(self) -> tuple[Segment, int] | None:
        """Where the next execution starts; None before anyone said so."""
        return self._start


def open_channel() -> ActorHandle[Channel]:
    """Start a channel, owned by this process."""
    return cast(ActorHandle[Channel], ray.remote(num_cpus=0)(Channel).remote())


def stream_start(channel: ActorHandle[Channel]) -> tuple[Segment, int] | None:
    """Where the stream starts, as the feed's source asks it; None before a worker said so."""
    return cast(tuple[Segment, int] | None, ray.get(channel.start.remote()))


def refusal_of(channel: ActorHandle[Channel]) -> tuple[str, str] | None:
    """Why this training cannot go on, (kind, reason), or None."""
    return cast(tuple[str, str] | None, ray.get(channel.refusal.remote()))
