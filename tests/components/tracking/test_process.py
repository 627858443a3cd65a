import os
import subprocess
import sys
import time

from components.tracking.process import Process, process_start


def test_this_process_is_alive_and_survives_the_way_through_tags() -> None:
    process = Process.current()
    assert process.pid == os.getpid()
    assert Process.from_tags(process.tags()) == process
    assert process.is_alive()
    assert not process.is_gone()


def test_ended_process_is_gone_even_before_it_is_reaped() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = process_start(child.pid)
        assert started is not None
        process = Process(Process.current().host, child.pid, started)
        assert process.is_alive()
        child.kill()
        deadline = time.monotonic() + 5
        while not process.is_gone():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert process.is_gone()


def test_reused_process_id_is_another_process() -> None:
    here = Process.current()
    assert Process(here.host, here.pid, "another start").is_gone()


def test_processes_of_other_hosts_are_neither_alive_nor_gone() -> None:
    there = Process("elsewhere-12345678", 1, "x")
    assert not there.is_alive()
    assert not there.is_gone()


def test_tags_of_others_give_no_process() -> None:
    assert Process.from_tags({}) is None
    assert Process.from_tags({**Process.current().tags(), "headrace.pid": "x"}) is None
