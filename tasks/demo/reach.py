"""Receptive fields as HTML: the browser has letters for every language, and the maps are legible at any width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image

from tasks.demo.words import data_uri, escape
from tasks.receptive_field.drawing import CAPTION, MARK, Fields, coloured, colours, in_words, share_text
from tasks.receptive_field.influence import LayerField

__all__ = ["maps", "strips"]

SCALE = """
<div class="scale"><div><i class="greys"></i>
<p><span>1/10,000 or less</span><span>1/1,000</span><span>1/100</span><span>1/10</span><span>strongest</span></p></div>
<div><i class="paper"></i><p><span>none at all</span></p></div></div>
"""
WORD, LAYER = 88, 18  # pixels that a panel of strips has at least, for the words and for each layer


def maps(fields: Fields) -> str:
    """For each model a row of maps of the input's tokens (h, w), one for each layer."""
    inks = colours(list(fields))
    rows = [
        f'<h4 style="color: {inks[name]}">{escape(name)}</h4>'
        f'<div class="layers" style="--columns: {max(4, len(layers))}">'
        f"{''.join(_map(layer, inks[name]) for layer in layers)}</div>"
        for name, layers in fields.items()
    ]
    return _figure(fields, "".join(rows))


def strips(fields: Fields, words: Mapping[str, Sequence[str]]) -> str:
    """For each model a panel with its ``words``, the tokens as people read them, and for each layer a strip of them."""
    inks, most = colours(list(fields)), max(map(len, fields.values()))
    panels = [_panel(name, layers, words[name], inks[name]) for name, layers in fields.items()]
    return _figure(fields, f'<div class="panels" style="--least: {WORD + LAYER * most}px">{"".join(panels)}</div>')


def _figure(fields: Fields, body: str) -> str:
    return (
        f'<figure class="reach" role="group" aria-label="{escape(in_words(fields))}" style="--mark: {MARK}">'
        f"{body}{SCALE}<figcaption>{escape(CAPTION)}</figcaption></figure>"
    )


def _map(layer: LayerField, ink: str) -> str:
    (row, column), (height, width) = layer.source, layer.reached.shape
    place = {"left": column / width, "top": row / height, "width": 1 / width, "height": 1 / height}
    at = "; ".join(f"{side}: {100 * share:.3f}%" for side, share in place.items())
    drawn = data_uri(Image.fromarray(coloured(layer, ink)))
    return (
        f'<div><p class="name">{escape(layer.name)}</p>'
        f'<div class="paper"><img src="{drawn}" alt=""><i style="{at}"></i></div>'
        f"<p>{layer.count} of {layer.reached.numel()}<br>own {escape(share_text(layer))}</p></div>"
    )


def _panel(name: str, layers: Sequence[LayerField], words: Sequence[str], ink: str) -> str:
    columns = [coloured(layer, ink) for layer in layers]
    rows = []
    for at, word in enumerate(words):
        cells = (f"<td{_background(column[at])}></td>" for column in columns)
        marked = ' class="marked"' if at == layers[0].source[0] else ""
        rows.append(f'<tr{marked}><th title="{escape(word)}">{escape(word)}</th>{"".join(cells)}</tr>')
    numbers = {
        "layer": [str(number) for number in range(1, len(layers) + 1)],
        "reach": [str(layer.count) for layer in layers],
        "own %": [share_text(layer).removesuffix(" %") for layer in layers],
    }
    foot = "".join(
        f"<tr><th>{told}</th>{''.join(f'<td>{escape(value)}</td>' for value in values)}</tr>"
        for told, values in numbers.items()
    )
    return (
        f'<div><h4 style="color: {ink}">{escape(name)}</h4>'
        f"<table><tbody>{''.join(rows)}</tbody><tfoot>{foot}</tfoot></table></div>"
    )


def _background(ink: Sequence[int]) -> str:
    """Nothing where there is no influence: paper is hatched."""
    red, green, blue, alpha = ink
    return f' style="background: #{red:02x}{green:02x}{blue:02x}"' if alpha else ""
