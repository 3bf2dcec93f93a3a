"""`tta studio` in a browser: type, run, stop, compare, download. Nothing is loaded from outside, and a phone needs no horizontal
scrolling."""

import contextlib
import http.client
import re
import shutil
import signal
import zipfile

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
PATIENCE = 300_000  # milliseconds; it only ends a wait for what never comes

pytestmark = pytest.mark.browser


@pytest.fixture
def address(spawned, tmp_path):
    """The address of the page of `tta studio`. At the end the studio is stopped, and must have printed no error."""
    process = spawned("studio", "--port", 0, "--out", tmp_path / "runs")
    said = process.stdout.readline()
    yield re.search(r"http://127\.0\.0\.1:\d+", said)[0]
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=300)
    assert process.returncode == 0, complaints
    assert "Traceback" not in complaints


@pytest.fixture
def browser():
    drives = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'tta-align[dev]'")
    with drives.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS, timeout=PATIENCE)
        yield chromium
        chromium.close()


class Watched:
    """A page, with its errors and the addresses that it requested."""

    def __init__(self, browser, address, **options):
        self.complaints, self.asked = [], set()
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.add(re.match(r"(data|blob):|\w+://[^/]*", request.url)[0]))
        self.page.goto(address)
        self.page.wait_for_selector("#run")

    def wait_for_status(self, pattern):
        """Waits until the text of the status matches."""
        self.page.locator("#status").filter(has_text=re.compile(pattern)).wait_for()

    def check(self, address):
        """Checks that there were no errors, that nothing was loaded from outside, and that nothing is wider than the window."""
        assert self.complaints == []
        assert self.asked - {"data:", "blob:"} == {address}
        assert self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def status_of(address, path):
    """The status of the answer to a request of exactly this path, which a browser would shorten."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=PATIENCE / 1000)
    connection.request("GET", path)
    with contextlib.closing(connection):
        return connection.getresponse().status


def test_type_run_stop_compare(address, browser, tmp_path):
    watched = Watched(browser, address, viewport={"width": 390, "height": 844})
    page = watched.page
    assert page.is_disabled("#run") or page.locator("#setting-rho").count()  # it would do nothing before the settings are there
    page.fill("#prompt textarea", "an orange triangle and a red square")
    page.click("#more button")
    page.wait_for_selector("#memory input")
    assert page.locator("#model, #reward, #method, #steps, #seed, #memory").locator("input:disabled, textarea:disabled").count() == 0
    page.click("#reward input")
    page.get_by_role("option", name=re.compile("^brightness")).click()
    page.fill("#steps input, #steps textarea", "400")
    page.click("#settings button")
    page.fill("#setting-rho input", "0.25")
    page.click("#run")
    page.wait_for_selector("#look-ahead img", state="attached")  # an image below the window is not loaded, so it has no size yet
    page.click("#stop")
    page.wait_for_selector("#compare img", state="attached")
    watched.wait_for_status(r"interrupted at \d+ of 400; the best so far was saved")
    assert page.evaluate("new Set([...document.querySelectorAll('#compare img')].map(image => image.src)).size") == 2
    with page.expect_download() as download:
        page.click("#download")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert {"run/run.json", "run/aligned.png", "run/baseline.png", "run/grid.png"} <= set(archive.namelist())
        record = archive.read("run/run.json")
    assert b"DATE(rho=0.25" in record
    assert b"Brightness" in record
    watched.check(address)
    for name in ("nothing", "..", "%2e%2e", ".", "run%2f..", str(tmp_path / "runs" / "run").replace("/", "%2f")):
        assert status_of(address, f"/runs/{name}.zip") == 404, name

    page.fill("#setting-rho input", "-1")
    page.click("#run")
    watched.wait_for_status(r"DATE\.rho is -1\.0, outside its range")
    assert page.locator("#status [role=alert]").count() == 1

    page.set_viewport_size({"width": 1280, "height": 900})
    page.click("#history img")
    watched.wait_for_status("an orange triangle and a red square")
    page.wait_for_selector("#compare img", state="attached")
    page.click("#method input")
    page.get_by_role("option", name=re.compile("greedy")).click()
    page.wait_for_selector("#setting-size")
    watched.check(address)
