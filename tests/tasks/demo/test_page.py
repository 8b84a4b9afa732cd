"""The page in a browser, at the width of a desk and of a phone; and what its server refuses."""

from __future__ import annotations

import json
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from metaformer_nlp.config.command_line import from_dict
from tasks.demo.options import DemoConfig
from tasks.demo.serve import launch, opened

RESULTS = Path(__file__).parents[3] / "docs/results"
WIDTHS = {"desk": (1100, "light"), "phone": (390, "dark")}
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")


@pytest.fixture(scope="module")
def given(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs, a folder with a secret beside them, and a link to it among them."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(runs, folder / "runs")
    (folder / "secret").mkdir()
    (folder / "secret/config.json").write_text("a secret")
    (folder / "runs/linked").symlink_to(folder / "secret")
    return folder


@pytest.fixture(scope="module")
def address(given: Path) -> Iterator[str]:
    """Of the page, served as the script does."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", "")  # put back as it was, at the end
        values = {"models": str(given / "runs"), "studies": str(RESULTS / "images"), "port": 0}
        config = from_dict(DemoConfig, values)
        page = opened(config, stack)
        stack.callback(page.close, verbose=False)
        yield launch(page, config)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's; where there is none there is nothing to see."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu", *QUIET])
        yield opened
        opened.close()


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    """At each width; at the end nothing was wrong in the console, and nobody but the server was asked."""
    width, colours = WIDTHS[request.param]
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=colours)
    seen, wrong, asked = context.new_page(), list[str](), list[str]()
    seen.set_default_timeout(60_000)
    seen.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    seen.on("pageerror", lambda error: wrong.append(str(error)))
    seen.on("request", lambda request: asked.append(request.url))
    seen.goto(address)
    yield seen
    assert wrong == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    context.close()


def fits(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def open_tab(page: Any, name: str) -> None:
    """Click on a tab."""
    page.get_by_role("tab", name=name, exact=True).click()


def test_a_picture_a_sentence_and_a_study(page: Any, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 52, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    (tmp_path / "text.png").write_text("no picture")
    dropped = page.locator("#picture input[type=file]")
    dropped.set_input_files(tmp_path / "picture.png")
    first = page.locator("#predicted .card", has_text="classifier")
    first.locator(".bars li").nth(4).wait_for()
    assert first.locator(".bars li").count() == 5
    dropped.wait_for(state="attached")
    assert first.locator("img.map").evaluate("image => image.naturalWidth") >= 200
    assert fits(page)
    dropped.set_input_files(tmp_path / "text.png")
    page.locator("#predicted .problem", has_text="text.png is no picture that can be read").wait_for()

    open_tab(page, "Text")
    page.locator("#sentence textarea").fill("the {{7*7}} ${1+1} <b>name</b> of a [MASK]")
    page.get_by_role("button", name="Fill in").click()
    page.locator("#filled .bars li").nth(4).wait_for()
    assert all(page.locator("#filled .bars li span").all_inner_texts())
    page.locator("#sentence textarea").fill("no word is missing")
    page.get_by_role("button", name="Fill in").click()
    page.locator("#filled .problem", has_text="The text has no [MASK]").wait_for()
    assert fits(page)

    open_tab(page, "Studies")
    report = page.frame_locator("iframe.report")
    report.locator("h1").wait_for()
    assert report.locator("img").first.evaluate("image => image.naturalWidth") > 300
    page.get_by_role("tab", name="Curves").click()
    page.locator("#curves img").wait_for()
    assert fits(page)

    open_tab(page, "Models")
    for name, why in {
        "../secret": "a path with .. is refused",
        "/etc": "an absolute path",
        "linked": "a link out",
    }.items():
        page.locator("#folder input, #folder textarea").first.fill(name)
        page.locator("#look").click()
        page.locator("#found .problem", has_text=why).wait_for()
    assert fits(page)


def test_all_tabs_are_seen(page: Any) -> None:
    page.get_by_role("tab", name="Models", exact=True).wait_for()
    tabs = [
        page.get_by_role("tab", name=name, exact=True) for name in ("Images", "Text", "Mixing", "Studies", "Models")
    ]
    assert all(tab.is_visible() for tab in tabs)
    assert len({tab.bounding_box()["y"] for tab in tabs}) == 1, "in one line"


def reach(page: Any, place: str) -> dict[str, list[int]]:
    """What the figure is called for those who do not see it: tokens in reach after each layer, by mixer."""
    told = page.locator(f"{place} figure").get_attribute("aria-label")
    rows = re.findall(r"([\w/]+): ([\d, ]+) of \d+ tokens", told)
    return {name: [int(number) for number in numbers.split(", ")] for name, numbers in rows}


def test_a_click_shows_where_the_reach_of_pooling_ends(page: Any) -> None:
    open_tab(page, "Mixing")
    shown = page.locator("#mixing-picture img")
    shown.wait_for()
    box = shown.bounding_box()
    shown.click(position={"x": box["width"] * 0.55, "y": box["height"] * 0.55})
    page.locator("#reach-picture figure").wait_for()
    assert page.locator("#reach-picture").bounding_box()["y"] < 600, "in the window, on a phone too"
    found = reach(page, "#reach-picture")
    assert found["pooling"] == found["depthwise_conv"] == [9, 25, 49, 81]
    assert found["attention"] == [256] * 4
    assert found["identity"] == [1] * 4
    assert fits(page)
    shown.click(position={"x": 3, "y": box["height"] - 3})
    page.locator("#reach-picture figure[aria-label*='pooling: 4, 9, 16, 25 of 256']").wait_for()

    page.get_by_role("tab", name="A text").click()
    page.locator("#mixing-words").get_by_text("lighthouse", exact=True).click()
    page.locator("#reach-text figure").wait_for()
    found = reach(page, "#reach-text")
    assert found["pooling"] == [3, 5, 7, 9]
    assert found["attention"] == [20] * 4
    page.locator("#mixing-text textarea").fill("Two words")
    page.locator("#mixing-words").get_by_text("words", exact=True).click()
    page.locator("#reach-text figure[aria-label*='pooling: 2, 2, 2, 2 of 2 tokens']").wait_for()
    assert fits(page)


def status(address: str, path: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{address}{path}", headers=headers), timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_no_file_is_served_but_what_was_uploaded(address: str, given: Path) -> None:
    paths = [
        given / "secret/config.json",
        given / "runs/linked/config.json",
        given / "runs/classifier/model/config.json",
    ]
    others = ["/etc/passwd", "../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", f"{given}/runs/../secret/config.json"]
    for path in [*map(str, paths), *others, "pyproject.toml"]:
        for route in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/static/", "/assets/", "/"):
            assert status(address, f"{route}{quote(path, safe='/%')}") in (403, 404, 405), (route, path)


def test_the_server_fetches_nothing(address: str) -> None:
    for path in (
        "file=http://example.org/x",
        "file=https%3A//example.org/x",
        "proxy=https://x.hf.space/x",
        "file=file:///etc",
    ):
        assert status(address, f"gradio_api/{path}") == 403
    assert status(address, "", Host="example.org") == 403, "a name of the network that leads to this machine"
    for origin in ("https://example.org", "null", "http://127.0.0.1:1"):
        assert status(address, "gradio_api/upload", Origin=origin) == 403, "another page that the browser has open"
    assert status(address, "config", Origin=address.rstrip("/")) == 200
    assert status(address, "") == 200


@pytest.mark.parametrize("path", ["/etc/passwd", "http://example.org/x.png", "SECRET", "../secret/config.json"])
def test_an_upload_that_names_another_file_is_refused(address: str, given: Path, path: str) -> None:
    """As a request that no page would send: the file was not uploaded."""
    path = path.replace("SECRET", str(given / "secret/config.json"))
    answer = ask(address, "upload", [{"path": path, "meta": {"_type": "gradio.FileData"}}])
    assert '"success":false' in answer
    assert "a secret" not in answer
    assert "Traceback" not in answer


@pytest.mark.parametrize("name", ["../secret", "/etc", "linked", "runs/linked"])
def test_a_model_that_is_not_in_the_list_is_refused(address: str, name: str) -> None:
    answer = ask(address, "release", [[name], None, 0.5])
    assert '"success":false' in answer
    assert "Traceback" not in answer


def ask(address: str, event: str, data: list[Any]) -> str:
    """What the server answers to the first event of this name with so many inputs."""
    with urllib.request.urlopen(f"{address}config", timeout=60) as answer:
        events = json.loads(answer.read())["dependencies"]
    number = next(
        one["id"] for one in events if len(one["inputs"]) == len(data) and event in [name for _, name in one["targets"]]
    )
    session = f"{event}{abs(hash(str(data)))}"
    body = json.dumps({"data": data, "fn_index": number, "session_hash": session}).encode()
    request = urllib.request.Request(f"{address}gradio_api/queue/join", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=60).read()
    lines = []
    with urllib.request.urlopen(f"{address}gradio_api/queue/data?session_hash={session}", timeout=60) as stream:
        for line in stream:
            lines.append(line.decode())
            if "process_completed" in lines[-1]:
                break
    return "".join(lines).replace('": ', '":')
