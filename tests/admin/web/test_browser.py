"""The page in a real browser: what people see, and that hostile names stay text. Needs Debian's chromium."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.admin.web.hostile import HOSTILE
from tests.admin.web.site import PASSWORD, Site, fill

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PAGES = ("", "runs", "resources", "points", "alerts", "dead-letters", "missed", "runs/1", "resources/1")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.fail("Chromium is missing: apt-get install chromium.")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield started
        started.close()


class Watched:
    """A page of the browser that notes whatever a hostile name could do."""

    def __init__(self, browser: Browser, **options: Any) -> None:
        self.context = browser.new_context(
            ignore_https_errors=True, viewport={"width": 1440, "height": 1000}, **options
        )
        self.page: Page = self.context.new_page()
        self.harm: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("dialog", self._dialog)
        self.page.on("console", lambda line: self.harm.append(line.text) if line.type == "error" else None)
        self.page.on("pageerror", lambda error: self.harm.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        self.page.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => console.error('CSP ' + e.blockedURI))"
        )

    def _dialog(self, dialog: Any) -> None:
        self.harm.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def log_in(self, site: Site, name: str = "ada") -> Page:
        self.page.goto(site.handle.address)
        self.page.fill("input[name=name]", name)
        self.page.fill("input[name=password]", PASSWORD)
        self.page.click("button")
        self.page.wait_for_selector("#queues")
        return self.page


def test_somebody_logs_in_and_sees_the_health_of_each_queue(site: Site, browser: Browser) -> None:
    """Feature 64, 38, 39: depth, oldest age, consumers, rate and dead letters of each lane, in light and dark."""
    fill()
    seen = Watched(browser)
    page = seen.log_in(site)
    row = page.locator("tr", has=page.get_by_role("rowheader", name="snapshot")).inner_text().split("\t")
    assert [" ".join(cell.split()) for cell in row[:7]] == ["snapshot", "▲ dead letters", "8", "4", "0", "4", "4"]
    assert row[-1].strip() == "1"
    assert "policies behind" in page.inner_text("main").lower()
    page.screenshot(path=site.settings.home / "light.png", full_page=True)
    page.emulate_media(color_scheme="dark")
    page.screenshot(path=site.settings.home / "dark.png", full_page=True)
    page.click("text=run-1")
    page.wait_for_selector("h1 .state")
    assert "The role may not create snapshots." in page.inner_text("main")
    page.screenshot(path=site.settings.home / "run.png", full_page=True)
    assert seen.harm == []
    seen.context.close()


def test_hostile_names_stay_text_on_every_page(site: Site, browser: Browser) -> None:
    """Feature 94: no dialog, no violation of the content policy, no request to another host."""
    fill(hostile=True)
    seen = Watched(browser)
    page = seen.log_in(site)
    shown = ""
    for path in PAGES:
        page.goto(site.handle.address + path)
        shown += page.inner_text("main")
        page.mouse.move(400, 400)
    assert seen.harm == []
    assert seen.hosts == {site.handle.address.split("/")[2]}
    assert "<img src=x onerror=alert(1)>" in shown
    assert sum(name in shown for name in HOSTILE) > 25
    assert "\u202e" not in page.content()
    seen.context.close()


def test_the_page_reads_itself_again_and_pauses_while_nobody_looks(site: Site, browser: Browser) -> None:
    """Feature 39: new figures appear by themselves; a hidden tab asks for nothing."""
    seen = Watched(browser)
    page = seen.log_in(site)
    fill()
    page.wait_for_selector("text=run-1", timeout=9000)
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true})")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(6000)
    assert asked == []
    seen.context.close()


def test_everything_can_be_read_without_scripts(site: Site, browser: Browser) -> None:
    """Feature 64: scripts only refresh."""
    fill()
    seen = Watched(browser, java_script_enabled=False)
    page = seen.log_in(site)
    for path in PAGES:
        page.goto(site.handle.address + path)
        assert page.locator("main table tbody tr").count() >= 1
    seen.context.close()
