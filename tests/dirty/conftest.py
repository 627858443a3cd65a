"""One dirty folder for all tests here: making it takes some seconds."""

from pathlib import Path

import pytest

from tests.dirty.images import make_dirty_images
from tests.dirty.truth import ImageTruth

SEED = 3


@pytest.fixture(scope="session")
def dirty_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it lies; filled once `truth` was asked for."""
    return tmp_path_factory.mktemp("dirty")


@pytest.fixture(scope="session")
def truth(dirty_folder: Path) -> ImageTruth:
    """In split folders, with all defects and few clean pictures."""
    return make_dirty_images(dirty_folder, SEED, "splits", num_clean=110)
