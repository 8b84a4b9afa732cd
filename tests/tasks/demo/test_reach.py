"""Receptive fields as HTML: a map or a strip for each layer, the marked token, and words as text of the page."""

from __future__ import annotations

import re

import torch

from tasks.demo.reach import maps, strips
from tasks.receptive_field.influence import LayerField


def field(influence: list[list[float]] | list[float], source: tuple[int, ...], name: str = "layer 1") -> LayerField:
    values = torch.tensor(influence, dtype=torch.float64)
    return LayerField(name, source, source, values, values > 0, True)


def test_maps_of_an_image() -> None:
    layer = field([[0.0, 0.5, 0.0, 0.0], [0.5, 1.0, 0.0, 0.0]], (1, 3), "stage 1, block 1")
    html = maps({"pooling": [layer, layer], "<own>": [layer]})
    assert html.count('<img src="data:image/png') == 3
    assert html.count("3 of 8<br>own 0 %") == 3
    assert html.count('style="left: 75.000%; top: 50.000%; width: 25.000%; height: 50.000%"') == 3
    assert 'aria-label="How many tokens are in reach after each layer. pooling: 3, 3 of 8 tokens; &lt;own&gt;' in html
    assert "<own>" not in html


def test_strips_of_a_text() -> None:
    layers = [field([0.0, 1.0, 0.25], (1,)), field([0.5, 1.0, 0.25], (1,))]
    words = ["<b>", "漢字", "🙂 ${1}"]
    html = strips({"shift": layers, "attention": layers[:1]}, {"shift": words, "attention": words})
    panel = html[html.index("shift</h4>") : html.index("attention</h4>")]
    rows = [re.findall(r"<t[hd][^>]*?>([^<]*)", row) for row in panel.split("<tr")[1:]]
    assert [row[0] for row in rows] == [
        "&lt;b&gt;", "漢字", "🙂 &#36;&#123;1&#125;", "layer", "reach", "own %"
    ]  # fmt: skip
    assert rows[3:] == [["layer", "1", "2"], ["reach", "2", "3"], ["own %", "94", "76"]]
    assert panel.count('class="marked"') == 1
    assert panel.index('class="marked"') < panel.index("漢字") < panel.index("🙂")
    assert panel.count("<td style=") == 5, "a cell without influence shows the paper"
