"""Every second counts once, for the innermost stage."""

import pytest

from components.training import stopwatch
from components.training.stopwatch import Stopwatch


def test_stages_inside_one_another_share_no_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 3.0, 3.5, 4.5, 10.0, 20.0, 22.0])
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(now))
    watch = Stopwatch()
    with watch.stage("augment"):  # 0 to 10
        with watch.stage("decode"):  # 1 to 3
            pass
        with watch.stage("decode"):  # 3.5 to 4.5
            pass
    with watch.stage("read"):  # 20 to 22
        pass
    assert dict(watch.seconds) == {"decode": 3.0, "augment": 7.0, "read": 2.0}


def test_a_stage_that_fails_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 5.0])
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(now))
    watch = Stopwatch()
    with pytest.raises(KeyError), watch.stage("read"):
        raise KeyError
    assert watch.seconds["read"] == 5.0
