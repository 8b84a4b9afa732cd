"""Makes docs/gallery.md: runs every script on small real input and keeps the command, its output and a picture.

    python -m docs.gallery.make --data path/to/data
    python -m docs.gallery.make --data path/to/data --only predict.py explain.py

The data folder holds cifar10/, coco_tiny/, corpus/ and imagenet_sample/; all other input is embedded. Runs lie in
runs/gallery and are kept there: scripts that take a model take one that an earlier script made. With --only the other
sections of the page stay as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap

from docs.gallery.entries import ENTRIES, Entry

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "gallery.md"
PICTURES = ROOT / "docs" / "gallery"
MOST_BYTES = 60_000
"""Of a picture. All together hold at most a megabyte."""
WIDEST = 720
COLUMNS = 118


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--only", nargs="+", default=[], help="scripts whose sections are made anew; all if left out")
    options = parser.parse_args()
    entries = {entry.script: entry for entry in ENTRIES}
    if unknown := [name for name in options.only if name not in entries]:
        parser.error(f"--only {' '.join(unknown)}: there are {', '.join(entries)}")
    work = prepared(ROOT / "runs" / "gallery", options.data)
    for entry in entries.values():
        if not options.only or entry.script in options.only:
            print(entry.script, flush=True)
            made = section(entry, work)
            sections = {**read_sections(), entry.script: made}
            PAGE.write_text(page([sections[name] for name in entries if name in sections]), encoding="utf-8")


def read_sections() -> dict[str, str]:
    """The sections that the page has, by script."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    parts = re.split(r"^## (?=\w+\.py$)", text, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: f"## {part.strip()}\n" for part in parts}


def page(sections: list[str]) -> str:
    head = (
        "# Gallery\n\nEvery script, really run, on one thread of a processor and with settings that take seconds. "
        "Numbers of such runs say nothing about the models.\n"
        "`python -m docs.gallery.make --data FOLDER` makes this page.\n"
    )
    return "\n".join([head, *sections])


def prepared(work: Path, data: Path) -> Path:
    """The working folder, with the input that scripts do not bring along."""
    (work / "tmp").mkdir(parents=True, exist_ok=True)
    for name, target in (("scripts", ROOT / "scripts"), ("docs", ROOT / "docs"), ("data", data.resolve())):
        (work / name).unlink(missing_ok=True)
        (work / name).symlink_to(target)
    draw_input(work)
    (work / "squad.json").write_text(json.dumps({"version": "1.1", "data": [questions()]}), encoding="utf-8")
    return work


def draw_input(work: Path) -> None:
    """Pictures of the embedded data, as files."""
    from PIL import Image

    from tasks.images.readers.digits import CanvasConfig, DigitsOnCanvas
    from tasks.images.readers.scenes import DigitScenes, SceneConfig

    digits, scenes = DigitsOnCanvas("validation", 32, CanvasConfig()), DigitScenes("validation", SceneConfig())
    for index in range(3):
        for folder, picture in (("digits", digits.load(index)), ("scenes", scenes.load(index).picture)):
            (work / folder).mkdir(exist_ok=True)
            Image.fromarray(picture).save(work / folder / f"{index}.png")


def questions() -> dict[str, object]:
    """Questions in SQuAD's layout; the answer is the word that follows a name."""
    names, things = ("Ada", "Emmy", "Grace", "Mary", "Sofia", "Maria"), ("one", "two", "three", "four", "five", "six")
    paragraphs = []
    for place, name in enumerate(names):
        for other, thing in enumerate(things):
            after = things[(other + 1) % 6]
            text = f"{name} has {thing} books and {names[(place + 1) % 6]} has {after} books."
            answers = [{"text": thing, "answer_start": text.index(thing)}]
            asked = {"id": f"{place}-{other}", "question": f"How many books has {name}?", "answers": answers}
            paragraphs.append({"context": text, "qas": [asked]})
    return {"title": "books", "paragraphs": paragraphs}


def section(entry: Entry, work: Path) -> str:
    """Runs a script; RuntimeError if it fails."""
    words = [sys.executable, f"scripts/{entry.script}", *shlex.split(entry.command)]
    cleared(entry, work)
    began = processor_seconds()
    picture = PICTURES / f"{entry.script.removesuffix('.py')}.png"
    environment = {
        **os.environ, "COLUMNS": str(COLUMNS), "NO_COLOR": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", "TMPDIR": str(work / "tmp"),
    }  # fmt: skip
    if entry.address:
        with served(words, entry.address, work, environment) as output:
            photograph(entry.address, work / "digits" / "1.png", work / "page.png")
        shrink(work / "page.png", picture)
        text = output.read_bytes().decode()
    else:
        done = subprocess.run(words, cwd=work, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        text = done.stdout.decode()  # not opened as text, which would take a return of the carriage for a line's end
        if done.returncode:
            raise RuntimeError(f"{entry.script} ended with status {done.returncode}:\n{text}")
        if entry.picture:
            shrink(work / entry.picture, picture)
    seconds = processor_seconds() - began
    shown = f"![{entry.sees}](gallery/{picture.name})\n\n" if entry.picture or entry.address else ""
    lines = shortened(cleaned(text, work), entry.head, entry.tail)
    command = shlex.join(["python", f"scripts/{entry.script}"]) + f" {entry.command}"
    took = "" if entry.address else f"\n*{seconds:.0f} seconds of a processor.*\n"
    return f"## {entry.script}\n\n{entry.shows}\n\n{shown}```\n$ {command}\n{lines}```\n{took}"


def processor_seconds() -> float:
    """Of the scripts that have ended: other programs on the machine do not matter."""
    times = os.times()
    return times.children_user + times.children_system


def cleared(entry: Entry, work: Path) -> None:
    """Removes the result of an earlier try, which a script would return or refuse."""
    own = re.findall(r"--(?:folder|output) (\S+)", entry.command)
    if found := re.search(r"--config recipe:(\S+)", entry.command):
        own.append(f"runs/{found[1].rpartition('/')[2]}")
    for name in (part for names in own for part in names.split(",")):
        path = work / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def cleaned(text: str, work: Path) -> list[str]:
    """Lines without colours, progress bars' earlier states and this machine's paths."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    for path in (work, work.resolve(), ROOT):
        text = text.replace(f"file://{path}/", "").replace(f"{path}/", "").replace(str(path), ".")
    text = re.sub(r"\btmp/tmp\w+", "tmp", text)
    text = re.sub(r"(?<![\w.])/(?:[\w.-]+/)+(?=site-packages/|lib/python)", "", text).replace(str(Path.home()), "~")
    text = re.sub(r"(?<=')/usr/[^']*(?=')", "...", text)
    lines = [line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    return [line for line in lines if line]


def shortened(lines: list[str], head: int, tail: int) -> str:
    """The first and the last lines, and how many are left out between them; tables stay whole."""
    left_out = len(lines) - head - tail
    if left_out > 1:
        lines = [*lines[:head], f"... ({left_out} lines)", *lines[-tail:]]
    return "".join(f"{part}\n" for line in lines for part in (wrapped(line) if len(line) > COLUMNS else [line]))


def wrapped(line: str) -> list[str]:
    """A long line broken, unless it is a row of a table."""
    if re.search(r"[━─│┃]|\S   ", line):
        return [line]
    return wrap(line, COLUMNS, subsequent_indent="    ", break_on_hyphens=False)


def shrink(source: Path, target: Path) -> None:
    """A picture at most `WIDEST` pixels wide, in as many colours as `MOST_BYTES` allow."""
    from PIL import Image

    with Image.open(source) as opened:
        image = opened.convert("RGB")
    if image.width < 300:  # a picture of few pixels shows them as squares
        factor = -(-300 // image.width)
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    for width in (WIDEST, 600, 480, 360):
        if image.width > width:
            image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
        for colours in (256, 64):
            image.quantize(colours).save(target, optimize=True)
            if target.stat().st_size <= MOST_BYTES:
                return
    raise RuntimeError(f"{target.name} has more than {MOST_BYTES} bytes")


@contextmanager
def served(words: list[str], address: str, work: Path, environment: dict[str, str]) -> Iterator[Path]:
    """A script that serves a page, from its first answer on; its output is in the file."""
    output = work / "output.txt"
    with output.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(words, cwd=work, env=environment, stdout=file, stderr=subprocess.STDOUT)
        try:
            for _ in range(120):
                if process.poll() is not None:
                    raise RuntimeError(f"the script ended: {output.read_text(encoding='utf-8')}")
                try:
                    urllib.request.urlopen(address, timeout=5).close()
                    break
                except (urllib.error.URLError, OSError):
                    time.sleep(1)
            yield output
        finally:
            process.terminate()
            process.wait(timeout=60)


def photograph(address: str, dropped: Path, target: Path) -> None:
    """The page of demo.py after a picture was dropped on it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1100, "height": 900})
        tab.set_default_timeout(120_000)
        tab.goto(address)
        tab.locator("#picture input[type=file]").set_input_files(dropped)
        tab.locator("#predicted .bars li").nth(4).wait_for()
        tab.wait_for_timeout(3000)
        tab.screenshot(path=target)
        browser.close()


if __name__ == "__main__":
    main()
