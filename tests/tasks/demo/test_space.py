"""The page of a Space: tabs and endpoint of its only model, and none that train or read studies."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.demo.guard import POLICY, Guard
from tasks.demo.models import Models
from tasks.demo.space import make_page


@pytest.mark.parametrize(
    ("name", "tabs", "endpoint"),
    [
        ("classifier", ["Images", "Mixing"], "classify"),
        ("detector", ["Images"], "detect"),
        ("segmenter", ["Images"], "segment"),
        ("words", ["Text", "Mixing"], "fill"),
        ("order", ["Text", "Mixing"], "classify"),
    ],
)
def test_tabs_and_endpoint(runs: Path, name: str, tabs: list[str], endpoint: str) -> None:
    page = make_page(Models({"mine": runs / name}), "mine")
    config = page.get_config_file()
    shown = [one["props"]["label"] for one in config["components"] if one["type"] == "tabitem"]
    assert shown == tabs
    public = [one["api_name"] for one in config["dependencies"] if one["api_visibility"] == "public"]
    assert public == [endpoint]
    texts = [str(one["props"].get("value")) for one in config["components"]]
    assert "# mine" in texts


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no model: there is no config\.json"):
        make_page(Models({"mine": tmp_path}), "mine")


def test_the_hub_may_show_it_and_nobody_else() -> None:
    async def application(*_: object) -> None: ...

    assert (
        Guard(application, loopback=False, embedded="https://huggingface.co")
        .policy.decode()
        .endswith("frame-ancestors 'self' https://huggingface.co")
    )
    assert Guard(application, loopback=True).policy.decode() == POLICY
