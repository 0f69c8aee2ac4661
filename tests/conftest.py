"""What holds for all tests."""

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

import sampling

BROWSER = "tests/browser/"
# No test is about how fast this computer is, nor how busy.
settings.register_profile("any pace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any pace")


def pytest_report_header() -> str:
    """What draws the cases of long lists that a quick run takes; `SAMPLE_SEED` sets it."""
    return f"SAMPLE_SEED={sampling.SEED}"


class ByFile(LoadScopeScheduling):
    """A process takes a file at a time, and one of them all browser tests: they share a server."""

    def _split_scope(self, nodeid: str) -> str:
        return BROWSER if nodeid.startswith(BROWSER) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    """How several processes share the tests."""
    return ByFile(config, log)
