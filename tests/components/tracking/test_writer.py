import threading
import time
from collections.abc import Callable, Sequence

import pytest

from components.errors import TrackingError
from components.tracking.writer import BatchWriter


class Server:
    """Takes batches, or refuses the first `failures` of them."""

    def __init__(self, failures: int = 0, delay_s: float = 0.0) -> None:
        self.batches: list[list[int]] = []
        self.failures = failures
        self.delay_s = delay_s

    def __call__(self, batch: Sequence[int]) -> None:
        time.sleep(self.delay_s)
        if self.failures:
            self.failures -= 1
            raise TrackingError("server away")
        self.batches.append(list(batch))


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_first_items_go_out_at_once_and_later_ones_together() -> None:
    server = Server()
    writer = BatchWriter(server, interval_s=0.2)
    writer.add([0])
    wait_until(lambda: server.batches == [[0]])
    for item in range(1, 50):
        writer.add([item])
    wait_until(lambda: len(server.batches) == 2)
    assert server.batches[1] == list(range(1, 50))
    writer.close()
    assert len(server.batches) == 2


def test_slow_server_does_not_slow_the_caller() -> None:
    writer = BatchWriter(Server(delay_s=0.2), interval_s=0.0)
    began = time.perf_counter()
    for item in range(100):
        writer.add([item])
    assert time.perf_counter() - began < 0.1
    writer.close()


def test_failed_batch_is_sent_again_and_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(failures=3)
    writer = BatchWriter(server, interval_s=0.0, retry_s=0.02)
    writer.add([1, 2])
    wait_until(lambda: bool(server.batches))
    assert server.batches == [[1, 2]]
    assert caplog.text.count("server away; metrics are kept and sent again") == 1
    writer.close()


def test_close_says_what_could_not_be_sent() -> None:
    server = Server(failures=1000)
    writer = BatchWriter(server, interval_s=0.0, retry_s=60.0)
    writer.add([1])
    with pytest.raises(TrackingError, match="server away"):
        writer.close()


def test_nothing_is_lost_or_doubled_between_threads() -> None:
    server = Server()
    writer = BatchWriter(server, interval_s=0.001)

    def work(start: int) -> None:
        for item in range(start, start + 500):
            writer.add([item])
            if item % 100 == 0:
                writer.flush()

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 500, 1000, 1500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    sent = [item for batch in server.batches for item in batch]
    assert sorted(sent) == list(range(2000))
