import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from components.errors import TrackingError
from components.tracking import server
from components.tracking.server import check_server, redact, resolve_uri, sqlite_path


class Handler(BaseHTTPRequestHandler):
    """Answers `/mlflow` like MLflow, `/page` like any page; `/locked` wants me with s3."""

    def do_GET(self) -> None:
        body = b"{}"
        status, kind = 200, "application/json"
        if self.path.startswith("/page"):
            kind = "text/html"
        elif self.path.startswith("/missing"):
            status = 404
        elif self.path.startswith("/locked"):
            # base64 of me:s3
            status = 200 if self.headers.get("Authorization") == "Basic bWU6czM=" else 401
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests quiet."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Handler) as answering:
        thread = threading.Thread(target=answering.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"127.0.0.1:{answering.server_port}"
        answering.shutdown()


@pytest.fixture(autouse=True)
def _no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USERNAME", "PASSWORD", "TOKEN", "URI", "INSECURE_TLS"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def test_answering_server_passes(address: str) -> None:
    check_server(f"http://{address}/mlflow/")


def test_login_comes_from_the_environment_or_the_uri(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrackingError, match=r"HTTP 401.*MLFLOW_TRACKING_USERNAME"):
        check_server(f"http://{address}/locked")
    check_server(f"http://me:s3@{address}/locked")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3")
    check_server(f"http://{address}/locked")


@pytest.mark.parametrize("path", ["page", "missing"])
def test_something_else_on_the_port_is_told(address: str, path: str) -> None:
    with pytest.raises(TrackingError, match="answers, but not as an MLflow server"):
        check_server(f"http://{address}/{path}")


@pytest.mark.parametrize("scheme", ["http", "https", "postgresql", "mysql+pymysql"])
def test_refused_connection_is_told_in_one_line_without_the_password(scheme: str) -> None:
    port = free_port()
    began = time.perf_counter()
    with pytest.raises(TrackingError) as caught:
        check_server(f"{scheme}://me:secret@127.0.0.1:{port}/db?password=secret")
    assert time.perf_counter() - began < 1
    message = str(caught.value)
    assert f"tracking server {scheme}://127.0.0.1:{port}/db cannot be reached" in message
    assert "connection refused" in message
    assert "unset it for the embedded database" in message
    assert "secret" not in message
    assert "\n" not in message


def test_silent_server_is_given_up_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "TIMEOUT_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.perf_counter()
        with pytest.raises(TrackingError, match=r"no answer within 0\.3 s"):
            check_server(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert time.perf_counter() - began < 1


def test_slow_name_look_up_is_given_up_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "TIMEOUT_S", 0.2)
    over = threading.Event()

    def look_up(*_: object, **__: object) -> None:
        over.wait()
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    began = time.perf_counter()
    with pytest.raises(TrackingError, match=r"no answer within 0\.2 s"):
        check_server("http://mlflow.example:5000")
    assert time.perf_counter() - began < 1
    over.set()


def test_limit_is_5_seconds() -> None:
    assert server.TIMEOUT_S == 5.0


def test_uri_that_mlflow_cannot_write_to_is_refused() -> None:
    with pytest.raises(TrackingError, match=r"\./mlruns is not one that MLflow can write to"):
        check_server("./mlruns")


def test_sqlite_needs_a_folder_that_can_be_made(tmp_path: Path) -> None:
    check_server(f"sqlite:///{tmp_path}/deep/er/mlflow.db")
    assert not (tmp_path / "deep").exists()


def test_uri_is_chosen_argument_first_then_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = f"sqlite:///{tmp_path.as_posix()}/mlflow.db"
    assert resolve_uri(None, tmp_path) == embedded
    assert sqlite_path(embedded) == tmp_path / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://a:1")
    assert resolve_uri(None, tmp_path) == "http://a:1"
    assert resolve_uri("http://b:2", tmp_path) == "http://b:2"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert resolve_uri(None, tmp_path) == embedded


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://u:p@h:1/a?token=x", "http://h:1/a"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("databricks", "databricks"),
        ("postgresql://u:p%40@h/db", "postgresql://h/db"),
    ],
)
def test_redacted_uri_has_no_credentials(uri: str, shown: str) -> None:
    assert redact(uri) == shown
