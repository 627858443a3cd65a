"""What every test runs under: one thread, no network, no servers of the developer, Ray last."""

import os

# Set before anything imports torch, Ray, MLflow or albumentations, which read them only then.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
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
from collections.abc import Iterator  # noqa: E402

import hypothesis  # noqa: E402
import pytest  # noqa: E402

# On a busy machine an example may take long without being slow.
hypothesis.settings.register_profile("headrace", deadline=None)
hypothesis.settings.load_profile("headrace")

# What is imported stays until the end: no collection of garbage need look at it again.
gc.disable()

_RAY_FIXTURES = {"ray_cluster"}


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
