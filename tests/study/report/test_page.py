"""The page in a browser: what the first screen shows, at the width of a desk and of a phone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.study.analysis.analyse import analyse
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.report import figures
from metaformer_nlp.study.report.write import write_report
from tests.study.simulated import large_study_data, planted_rows, simulated_rows, small_study_data

SCREEN = 900  # pixels
# Frames, since the window of a browser cannot be as narrow as a phone.
_FRAMES = """<!doctype html><meta charset="utf-8"><body>
<iframe src="report.html" width="1100" height="900"></iframe>
<iframe src="report.html" width="390" height="900"></iframe>
<script>
addEventListener("load", () => {
  document.body.dataset.found = JSON.stringify([...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement;
    const picture = page.querySelector("img").getBoundingClientRect();
    const found = {
      width: frame.contentWindow.innerWidth, top: picture.top, bottom: picture.bottom, picture: picture.width,
      overflow: root.scrollWidth - root.clientWidth,
      folds: page.querySelectorAll("details").length, open: page.querySelectorAll("details[open]").length,
      height: root.scrollHeight,
    };
    page.querySelectorAll("details").forEach(fold => fold.open = true);
    return {...found, unfolded_overflow: root.scrollWidth - root.clientWidth};
  }));
});
</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    """Where there is no browser there is nothing to see."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed")
    assert path, "chromium is not installed: apt-get install chromium"
    return path


def many_arms() -> dict[str, Any]:
    """Of a study with three domains and long names."""
    data = large_study_data(3)
    data |= {"control": "identity", "claim": {"arm": "pooling", "gain": 0.5}}
    data["question"] = "How much of what mixing tokens gains is kept by pooling, in images, in text and in a probe?"
    data["domains"]["images"]["label"] = "images of CIFAR-10, of 32 pixels"
    data["arms"]["multi_window"]["label"] = "several windows of different sizes"
    return data


def many_domains() -> dict[str, Any]:
    """Of a study with five domains, in two rows, and twelve changes to pooling in each."""
    data = small_study_data(3, ("a", "b", "c", "d", "e"))
    data["question"] = " ".join(["Does a small model owe its accuracy to its architecture or to its mixer?"] * 3)
    data["arms"] |= {f"another_{n}": {"kind": "mixer", "set": {"model.token_mixer": f"m{n}"}} for n in range(6)}
    return data


@pytest.mark.parametrize(("make_data", "screens"), [(many_arms, 3), (many_domains, 3.5)])
def test_the_first_picture_is_on_the_first_screen(
    make_data: Callable[[], dict[str, Any]],
    screens: float,
    make_study: Callable[[dict[str, Any]], Study],
    tmp_path: Path,
    browser: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of its pictures the first two."""
    drawings = figures.drawings
    monkeypatch.setattr(figures, "drawings", lambda analysis: islice(drawings(analysis), 2))
    data = make_data()
    study = make_study(data)
    names = {domain.name for domain in study.domains}
    rows = planted_rows(study, dict.fromkeys(data["arms"], 0.6)) if "a" in names else simulated_rows(study)
    page = write_report(analyse(study, rows, text=study.text), tmp_path / "report")
    frames = page.with_name("frames.html")
    frames.write_text(_FRAMES)
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={tmp_path / 'browser'}", "--window-size=1600,1000", "--dump-dom", frames.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'data-found="(.*?)"', dom)
    assert found, dom[:500]
    desk, phone = json.loads(found[1].replace("&quot;", '"'))
    assert (desk["width"], phone["width"]) == (1100, 390)
    for its in (desk, phone):
        assert 0 < its["top"] < SCREEN
        assert its["picture"] > 300, "it is drawn"
        assert max(its["overflow"], its["unfolded_overflow"]) <= 0, "only a table is scrolled sideways"
        assert its["folds"] > 8
        assert its["open"] == 0
    assert desk["bottom"] <= SCREEN
    assert desk["height"] <= screens * SCREEN, "with all folded"
