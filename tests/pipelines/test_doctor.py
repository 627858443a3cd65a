import socket
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from rich.console import Console

from components.errors import PlanError
from pipelines import doctor
from pipelines.doctor import (
    Finding,
    check_cpus,
    check_disk,
    check_gpus,
    check_memory,
    check_packages,
    check_python,
    check_ray,
    check_shared_memory,
    check_tracking,
    check_writable,
    diagnose,
    findings_table,
    listed_gpus,
)

GIB = 1 << 30


@pytest.mark.parametrize(
    ("finding", "state"),
    [
        (check_python((3, 10, 13)), "fail"),
        (check_python((3, 11, 0)), "ok"),
        (check_python((3, 13, 9)), "ok"),
        (check_python((3, 14, 0)), "fail"),
        (check_cpus(1, 1), "warn"),
        (check_cpus(2, 64), "ok"),
        (check_memory(GIB // 2), "fail"),
        (check_memory(2 * GIB), "warn"),
        (check_memory(3 * GIB), "ok"),
        (check_shared_memory(64 << 20, 2 * GIB), "warn"),
        (check_shared_memory(2 * GIB, 2 * GIB), "ok"),
        (check_shared_memory(None, 2 * GIB), "ok"),
        (check_disk(100 << 20, Path("runs")), "fail"),
        (check_disk(GIB, Path("runs")), "warn"),
        (check_disk(50 * GIB, Path("runs")), "ok"),
        (check_gpus([], "2.13.0+cpu", 0), "ok"),
        (check_gpus(["H200"], "2.13.0", 1), "ok"),
        (check_gpus(["H200"], "2.13.0+cpu", 0), "warn"),
        (check_gpus(["H200", "H200"], "2.13.0", 1), "warn"),
        (check_gpus(["H200"], None, 0), "warn"),
        (check_ray(None, None), "ok"),
        (check_ray("10.0.0.1:6379", lambda: "4 nodes"), "ok"),
    ],
)
def test_each_limit_has_its_state_and_what_is_wrong_has_a_remedy(
    finding: Finding, state: str
) -> None:
    assert finding.state == state
    assert bool(finding.remedy) == (state != "ok")
    assert finding.detail and "\n" not in finding.detail


def test_findings_carry_their_numbers() -> None:
    assert check_cpus(2, 64).detail == "2 of 64 (affinity or container limit)"
    assert check_memory(5 * GIB // 2).detail == "2.5 GiB free, container limit included"
    assert check_shared_memory(64 << 20, 2 * GIB).detail == (
        "64 MiB free in /dev/shm, the object store takes 2.0 GiB"
    )
    assert "--shm-size=2g" in check_shared_memory(64 << 20, 2 * GIB).remedy
    assert "CUDA build" in check_gpus(["H200"], "2.13.0+cpu", 0).remedy
    assert "nvidia-smi" in check_gpus(["H200"], "2.13.0", 0).remedy


def test_packages_are_compared_with_what_pyproject_asks() -> None:
    asked = [
        Requirement("ray[data]==2.60.0"),
        Requirement("torch==2.13.0"),
        Requirement("rich>=14"),
    ]
    there = {"ray": "2.60.0", "torch": "2.13.0+cpu", "rich": "15.0.0"}
    assert check_packages(asked, there.get).state == "ok"
    finding = check_packages(asked, (there | {"ray": "2.59.0", "rich": None}).get)
    assert finding.state == "fail"
    assert finding.detail == "ray 2.59.0 is not ==2.60.0; rich is missing"
    assert check_packages([], there.get).state == "warn"


def test_the_output_folder_need_not_exist_and_is_not_made(tmp_path: Path) -> None:
    output = tmp_path / "a" / "b"
    assert check_writable(output).state == "ok"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    finding = check_writable(tmp_path / "file")
    assert (finding.state, finding.detail.endswith("Not a directory")) == ("fail", True)


def test_a_cluster_that_does_not_answer_is_a_failure_with_its_own_remedy() -> None:
    def connect() -> str:
        raise PlanError("RAY_ADDRESS = x cannot be reached; start the cluster")

    finding = check_ray("x", connect)
    assert (finding.state, finding.detail) == ("fail", "RAY_ADDRESS = x cannot be reached")
    assert finding.remedy == "start the cluster"
    assert check_ray("x", None).state == "warn"


def test_tracking_names_the_server_without_its_password(tmp_path: Path) -> None:
    assert check_tracking(f"sqlite:///{tmp_path}/mlflow.db").state == "ok"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    finding = check_tracking(f"http://me:secret@127.0.0.1:{port}")
    assert finding.state == "fail"
    assert f"127.0.0.1:{port}" in finding.detail
    assert "secret" not in finding.detail + finding.remedy


def test_the_gpus_are_those_that_the_driver_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\nprintf 'NVIDIA H200\\nNVIDIA H200\\n'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert listed_gpus() == ["NVIDIA H200", "NVIDIA H200"]
    command.write_text("#!/bin/sh\nexit 9\n")
    assert listed_gpus() == []
    command.unlink()
    assert listed_gpus() == []


def test_diagnose_looks_at_everything_once_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "listed_gpus", list)
    monkeypatch.setattr(doctor, "torch_cuda", lambda: ("2.13.0+cpu", 0))
    findings = diagnose(
        tmp_path / "runs",
        check_cluster=lambda: "3 nodes, 24 CPUs",
        environment={"RAY_ADDRESS": "10.0.0.1:6379"},
    )
    names = [finding.name for finding in findings]
    assert len(names) == len(set(names)) == 10
    states = {finding.name: finding.state for finding in findings}
    assert (states["Python"], states["Packages"], states["MLflow"]) == ("ok", "ok", "ok")
    assert "10.0.0.1:6379: 3 nodes, 24 CPUs" in [finding.detail for finding in findings]
    assert list(tmp_path.iterdir()) == []


def test_the_table_shows_brackets_as_they_are() -> None:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(findings_table([Finding("Ray", "fail", "found [red]x[/red]", "do [this]")]))
    text = console.export_text()
    assert "fail" in text and "found [red]x[/red]" in text and "do [this]" in text
