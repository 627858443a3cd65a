"""What every test runs under: one thread, no network, no servers of the developer, Ray last."""

import os

# Set before anything imports torch, Ray, MLflow or albumentations, which read them only then.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "MPLBACKEND": "Agg",
    "HF_HUB_OFFLINE": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
# A cluster or tracking server that the developer uses must never be touched by a test.
for _name in [name for name in os.environ if name.startswith("MLFLOW_TRACKING_")] + ["RAY_ADDRESS"]:
    os.environ.pop(_name, None)

import gc  # noqa: E402
import re  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import hypothesis  # noqa: E402
import pytest  # noqa: E402
from hypothesis import HealthCheck  # noqa: E402

# On a busy machine an example may take long without being slow.
_CLOCKLESS = hypothesis.settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis.settings.register_profile("few", _CLOCKLESS, max_examples=10)
hypothesis.settings.register_profile("thorough", _CLOCKLESS, max_examples=120)
hypothesis.settings.load_profile("few")

# What is imported stays until the end: no collection of garbage need look at it again.
gc.disable()

_RAY_FIXTURES = {"ray_cluster"}
# What all tests of a file are marked with; to ask for Ray is to be marked ray.
_MARKS_OF_FILE = re.compile(r"^pytestmark = (\[.*?^\]|.*?$)", re.MULTILINE | re.DOTALL)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out unread the files of which -m wants nothing: imports are most of a short run."""
    if not (collection_path.name.startswith("test_") and collection_path.suffix == ".py"):
        return None
    marks = _MARKS_OF_FILE.search(collection_path.read_text(encoding="utf-8"))
    if marks is None:
        return None
    names = re.findall(r"mark\.(\w+)", marks[1])
    if any(f'"{fixture}"' in marks[1] for fixture in _RAY_FIXTURES):
        names.append("ray")
    wanted = config.getoption("markexpr")
    return any(re.search(rf"\bnot {name}\b", wanted) for name in names) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks for a Ray fixture, and run it after all fast tests."""
    for item in items:
        if _RAY_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("ray")
    items.sort(key=lambda item: item.get_closest_marker("ray") is not None)


def pytest_collection_finish() -> None:
    """Collect garbage again, of the tests alone."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Ray with 4 logical CPUs for all tests that ask for it; always shut down."""
    from clusters.resources import Capacity, ClusterConfig, Node, plan_resources
    from clusters.session import ray_session

    store_bytes = 400 << 20
    capacity = Capacity((Node(4.0, 0.0, 8 << 30),), store_bytes, running_cluster=False)
    plan = plan_resources(ClusterConfig(device="cpu"), capacity)
    with ray_session(plan, tmp_path_factory.mktemp("ray-logs")):
        yield
