"""The very same command through `ray job submit`, against a head with token authentication."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.command import FAST, descendants, end, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]
_RAY = Path(sys.executable).with_name("ray")
_ROOT = Path(__file__).parents[2]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def head(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A head of its own with the dashboard and a token; the environment that reaches it."""
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123456789abcdef")
    token.chmod(0o600)
    port, dashboard = _free_port(), _free_port()
    # Short, because sockets lie in it; not Ray's own, where other runs would find this head.
    session = tempfile.mkdtemp(prefix="headrace-")
    environment = {
        **os.environ,
        # As on a head whose environment is activated: `python` is the one with Headrace's needs.
        "PATH": f"{_RAY.parent}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ADDRESS": f"http://127.0.0.1:{dashboard}",
    }
    command = [
        *(str(_RAY), "start", "--head", "--block", f"--port={port}", "--num-cpus=2"),
        *(f"--dashboard-port={dashboard}", "--object-store-memory=300000000"),
        *("--disable-usage-stats", "--include-dashboard=true", f"--temp-dir={session}"),
        # Its agents' usual ports may be those of the Ray of other tests.
        f"--dashboard-agent-listen-port={_free_port()}",
        f"--dashboard-agent-grpc-port={_free_port()}",
        f"--metrics-export-port={_free_port()}",
    ]
    without_address = {k: v for k, v in environment.items() if k != "RAY_ADDRESS"}
    with subprocess.Popen(
        command, env=without_address, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(lambda: _answers(environment), timeout_s=90, what="a head that takes jobs")
            yield environment
        finally:
            end(descendants(process.pid))
            shutil.rmtree(session, ignore_errors=True)


def _answers(environment: dict[str, str]) -> bool:
    listed = subprocess.run([str(_RAY), "job", "list"], env=environment, capture_output=True)
    return listed.returncode == 0


def test_the_same_command_runs_as_a_job(head: dict[str, str], tmp_path: Path) -> None:
    output = tmp_path / "shared"
    done = subprocess.run(
        [
            *(str(_RAY), "job", "submit", "--working-dir", ".", "--"),
            *("python", "-m", "pipelines", "run", "digits", f"output={output}", *FAST, "--json"),
        ],
        cwd=_ROOT,
        env=head,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith('{"mlflow_run_id"')]
    result = json.loads(line)
    assert result["accounting"]["prepared"] == 1797
    assert (output / "mlflow.db").is_file()
    (package,) = output.glob("digits-*/package/model.safetensors")
    assert package.stat().st_size > 0

    stranger = {**head, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "other")}
    (tmp_path / "other").write_text("fedcba9876543210fedcba9876543210")
    refused = subprocess.run([str(_RAY), "job", "list"], env=stranger, capture_output=True)
    assert refused.returncode != 0, "the token is really asked for"
