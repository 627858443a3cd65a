"""Sending in batches from a thread of its own, so that a slow server never slows training."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from components.errors import TrackingError

_logger = logging.getLogger(__name__)


Item = TypeVar("Item")


class BatchWriter(Generic[Item]):
    """Collects items and sends them together, at most once per interval.

    `add` returns at once. A failed batch is kept and sent again later, so `send` must bear being
    given the same items twice; the first failure in a row is logged as a warning. A killed
    process loses what it added in the last `interval_s`.

    Args:
        send: Writes the items or raises TrackingError.
        interval_s: Least time between two batches.
        retry_s: Time until a failed batch is sent again.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item]], None],
        *,
        interval_s: float = 0.5,
        retry_s: float = 10.0,
    ) -> None:
        self._send = send
        self._interval_s = interval_s
        self._retry_s = retry_s
        self._items: list[Item] = []
        self._items_lock = threading.Lock()
        self._send_lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._sent_at = float("-inf")
        self._failing = False

    def add(self, items: Sequence[Item]) -> None:
        """Take items over; they are sent within `interval_s` unless the server is away."""
        with self._items_lock:
            self._items.extend(items)
            if self._items and self._timer is None:
                self._schedule(max(0.0, self._sent_at + self._interval_s - time.monotonic()))

    def flush(self) -> None:
        """Send everything now.

        Raises:
            TrackingError: The items could not be sent; they are kept.
        """
        with self._send_lock:
            with self._items_lock:
                batch = list(self._items)
            if not batch:
                return
            self._send(batch)
            with self._items_lock:
                del self._items[: len(batch)]
                self._sent_at = time.monotonic()
            self._failing = False

    def close(self) -> None:
        """Send everything and stop the thread; nothing may be added afterwards.

        Raises:
            TrackingError: The items could not be sent; they are lost with the writer.
        """
        with self._items_lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self.flush()

    def _schedule(self, delay_s: float) -> None:
        self._timer = threading.Timer(delay_s, self._send_in_background)
        self._timer.name, self._timer.daemon = "tracking-writer", True
        self._timer.start()

    def _send_in_background(self) -> None:
        delay_s = self._interval_s
        try:
            self.flush()
        except TrackingError as error:
            delay_s = self._retry_s
            if not self._failing:
                _logger.warning("%s; metrics are kept and sent again", error)
            self._failing = True
        with self._items_lock:
            # `close` has taken the timer away, or everything has been sent.
            if self._timer is not threading.current_thread():
                return
            self._timer = None
            if self._items:
                self._schedule(delay_s)
