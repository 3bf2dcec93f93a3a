"""`python press_run.py CHROMIUM LINE`: starts the studio by that line, types a prompt, presses Run, waits for both images, and sends
Ctrl-C."""

import re
import signal
import subprocess
import sys

from playwright.sync_api import sync_playwright

PATIENCE = 600  # seconds
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


def press_run(browser, address):
    page = browser.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(address)
    page.fill("#prompt textarea", "a red circle")
    page.click("#run")  # it is disabled until the page is ready, and the click waits for that
    page.wait_for_selector("#compare img", state="attached")
    print(page.inner_text("#status"))


if __name__ == "__main__":
    chromium, line = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may ignore it, and so would the studio
    studio = subprocess.Popen(["bash", "-c", f"exec {line}"], stdout=subprocess.PIPE, text=True)
    try:
        said = studio.stdout.readline()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS, timeout=PATIENCE * 1000)
            press_run(browser, re.search(r"http://127\.0\.0\.1:\d+", said)[0])
            browser.close()
    finally:
        studio.send_signal(signal.SIGINT)
        status = studio.wait(PATIENCE)
    sys.exit(status)
