"""One tracking database for all tests: making one takes longer than all of them."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tracking_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Shared with tests/components/tracking.
    return tmp_path_factory.getbasetemp() / "tracking"
