"""One realistic run, rendered once."""

import pytest

from components.reports.data import ReportData
from components.reports.page import render_report
from tests.components.reports.sample import sample


@pytest.fixture(scope="session")
def run() -> ReportData:
    """The digits run."""
    return sample()


@pytest.fixture(scope="session")
def html(run: ReportData) -> str:
    """Its page."""
    return render_report(run)
