"""Whether a tracking server can be used, asked before anything starts and answered in seconds."""

import base64
import http.client
import os
import queue
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from components.errors import TrackingError

TIMEOUT_S = 5.0
"""Longest wait for an answer, name look-up included."""

_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_PROBE = "/api/2.0/mlflow/experiments/search?max_results=1"


def redact(uri: str) -> str:
    """Return the URI without user, password and query, fit for messages and logs."""
    return _without_user(uri).partition("?")[0]


def _without_user(uri: str) -> str:
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host)) if host else uri


def resolve_uri(uri: str | None, root: Path) -> str:
    """Choose where to track: `uri`, else `MLFLOW_TRACKING_URI`, else `mlflow.db` under `root`."""
    chosen = uri or os.environ.get("MLFLOW_TRACKING_URI") or ""
    return chosen or f"sqlite:///{root.resolve().as_posix()}/mlflow.db"


def sqlite_path(uri: str) -> Path | None:
    """Return the database file of a `sqlite:///` URI, and None for every other URI."""
    if urlsplit(uri).scheme.partition("+")[0] != "sqlite":
        return None
    return Path(unquote(uri.partition("?")[0].partition(":///")[2])).resolve()


def check_server(uri: str) -> None:
    """Refuse a tracking URI that cannot be used, within 5 s.

    A server is asked for one experiment, so that a wrong port, a wrong password and a page that
    is no MLflow are told apart; a database server must take a connection; the directory of a
    SQLite file must be writable. `databricks` URIs are left to MLflow.

    Raises:
        TrackingError: It names the URI (without credentials), what happened and what to do.
    """
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme in ("http", "https"):
        _within_deadline(lambda: _check_http(uri), uri)
    elif scheme in _DATABASE_PORTS:
        _within_deadline(lambda: _check_database(uri, scheme), uri)
    elif scheme == "sqlite":
        _check_sqlite(uri)
    elif not scheme.startswith("databricks") and uri != "databricks":
        raise TrackingError(
            f"tracking URI {redact(uri)} is not one that MLflow can write to; use http://, "
            f"https://, sqlite:///, postgresql:// or mysql://, or unset MLFLOW_TRACKING_URI "
            f"for the embedded database"
        )


def _within_deadline(check: Callable[[], None], uri: str) -> None:
    # Looking a name up cannot be given a timeout, so the check runs in a thread that may be left.
    outcome: queue.SimpleQueue[TrackingError | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            check()
        except TrackingError as error:
            outcome.put(error)
        except (OSError, ValueError, http.client.HTTPException) as error:
            outcome.put(_unreachable(uri, _reason(error)))
        else:
            outcome.put(None)

    threading.Thread(target=work, name="check_server", daemon=True).start()
    try:
        error = outcome.get(timeout=TIMEOUT_S)
    except queue.Empty:
        error = _unreachable(uri, f"no answer within {TIMEOUT_S:g} s")
    if error is not None:
        raise error


def _check_http(uri: str) -> None:
    request = urllib.request.Request(_without_user(uri).rstrip("/") + _PROBE, headers=_login(uri))
    insecure = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("1", "true")
    context = ssl._create_unverified_context() if insecure else None
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context) as response:
            status, kind = response.status, response.headers.get_content_type()
    except urllib.error.HTTPError as error:
        status, kind = error.code, ""
    if status in (401, 403):
        raise TrackingError(
            f"tracking server {redact(uri)} refused access (HTTP {status}); set "
            f"MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    if status != 200 or kind != "application/json":
        raise TrackingError(
            f"{redact(uri)} answers, but not as an MLflow server (HTTP {status}); "
            f"check host and port in MLFLOW_TRACKING_URI"
        )


def _login(uri: str) -> dict[str, str]:
    parts = urlsplit(uri)
    user = os.environ.get("MLFLOW_TRACKING_USERNAME") or unquote(parts.username or "")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD") or unquote(parts.password or "")
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    if user:
        pair = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        return {"Authorization": f"Basic {pair}"}
    return {"Authorization": f"Bearer {token}"} if token else {}


def _check_database(uri: str, scheme: str) -> None:
    parts = urlsplit(uri)
    address = (parts.hostname or "localhost", parts.port or _DATABASE_PORTS[scheme])
    socket.create_connection(address, timeout=TIMEOUT_S).close()


def _check_sqlite(uri: str) -> None:
    path = sqlite_path(uri)
    assert path is not None
    folder = next(parent for parent in path.parents if parent.exists())
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise TrackingError(
            f"tracking database {path} cannot be written; change its permissions or `output`"
        )


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {TIMEOUT_S:g} s"
    if isinstance(cause, ssl.SSLError):
        return "its TLS certificate was refused"
    if isinstance(cause, socket.gaierror):
        return "its name cannot be looked up"
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    return str(cause) or type(cause).__name__


def _unreachable(uri: str, reason: str) -> TrackingError:
    return TrackingError(
        f"tracking server {redact(uri)} cannot be reached: {reason}; start it, correct "
        f"MLFLOW_TRACKING_URI, or unset it for the embedded database"
    )
