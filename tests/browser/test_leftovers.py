"""What one browser test leaves behind is no trouble of the next."""

import asyncio
import gc

import pytest
from playwright.sync_api import Browser


def leave_undone(browser: Browser) -> None:
    """A page that closes while something of Playwright's still waits, as for a route."""
    page = browser.new_page()
    loop = asyncio.get_running_loop()

    async def wait() -> None:
        await loop.create_future()

    loop.create_task(wait())  # noqa: RUF006 - nothing keeps it, nor the routes of a closed page
    page.wait_for_timeout(1)
    page.close()


def test_what_a_closed_page_left_undone_is_no_error_of_a_later_test(
    browser: Browser, caplog: pytest.LogCaptureFixture
):
    leave_undone(browser)
    gc.collect()
    assert caplog.records == []
