"""The report of a comparison as one HTML file: a plot of the differences, feature maps, and all layers."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from .compare import Comparison, Errors, FeatureMap, Pair, describe, firsts, short_number, verdict
from .layout import Difference

__all__ = ["report"]

_COLOURS = {"fp32": "#1d4ed8", "fp16": "#c2410c", "bf16": "#7e22ce"}
_WIDTH, _HEIGHT = 1040, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 14, 34
_FLOOR = -9
"""The plot's lower end, as a power of ten; what is smaller, 0 included, lies on it."""
_CEILING = 1
_PICTURE = 200
"""Width of a feature map on the page, in pixels."""

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#1f2937;background:#fff}
h1{font-size:1.5em} h2{font-size:1.15em;margin-top:2em} code,pre{font:13px/1.45 ui-monospace,monospace}
pre{background:#f3f4f6;padding:.7em 1em;overflow-x:auto} table{border-collapse:collapse;font-size:13px}
td,th{padding:.2em .6em;border-bottom:1px solid #e5e7eb;text-align:right;white-space:nowrap}
td.l,th.l{text-align:left} tr.bad td{background:#fee2e2} .wide{overflow-x:auto}
.ok{color:#15803d;font-weight:600} .no{color:#b91c1c;font-weight:600}
figure{display:inline-block;margin:.3em .8em .3em 0;vertical-align:top} figcaption{font-size:12px;color:#4b5563}
img{image-rendering:pixelated;border:1px solid #d1d5db} svg text{font:11px system-ui,sans-serif;fill:#4b5563}
"""


def report(result: Comparison, top: int = 10) -> str:
    """A whole HTML page that needs no other file.

    Args:
        result: what :func:`.compare.compare` returned.
        top: for how many of the worst layers to show feature maps, if they have some.
    """
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f"<title>{escape(result.model)} and {escape(result.network)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(result.model)} and {escape(result.network)}</h1>",
        *_summary(result),
        "<h2>Differences along the network</h2>",
        _plot(result),
        _legend(result),
        *_divergences(result),
        *_maps(result, top),
        "<h2>All layers</h2>",
        _table(result),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _summary(result: Comparison) -> list[str]:
    rows = [f"<p>Input {escape(name)}: {escape(words)}.</p>" for name, words in result.inputs.items()]
    rows.append("<ul>")
    for precision in result.precisions:
        kind = "ok" if result.equal_at(precision) else "no"
        rows.append(f'<li>{precision}: <span class="{kind}">{escape(verdict(result, precision))}</span></li>')
    rows.append("</ul>")
    stored = "half" if result.rounded else "single"
    rows.append(
        f"<p>{len(result.pairs)} of {result.blobs} blobs are paired with a tensor of the model; "
        f"{len(result.intermediates)} are intermediates that the model does not have. "
        f"Weights are stored in {stored} precision.</p>"
    )
    return rows


# The plot -------------------------------------------------------------------------------------------------------------


def _plot(result: Comparison) -> str:
    """Relative differences by layer: lines are total ones, dots the layers' own."""
    count = max(1, len(result.pairs))
    step = (_WIDTH - _LEFT - _RIGHT) / count

    def x(i: int) -> float:
        return _LEFT + (i + 0.5) * step

    def y(value: float) -> float:
        power = math.log10(value) if 0 < value < math.inf else (_FLOOR if value <= 0 else _CEILING)
        power = min(max(power, _FLOOR), _CEILING)
        return _TOP + (_CEILING - power) / (_CEILING - _FLOOR) * (_HEIGHT - _TOP - _BOTTOM)

    out = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="100%" role="img" aria-label="differences by layer">']
    for power in range(_FLOOR, _CEILING + 1):
        at = y(10.0**power)
        label = "0" if power == _FLOOR else f"1e{power}"
        out.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e5e7eb"/>')
        out.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{label}</text>')
    for i in range(0, count, max(1, count // 12)):
        out.append(f'<text x="{x(i):.1f}" y="{_HEIGHT - 18}" text-anchor="middle">{i + 1}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    out.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 3}" text-anchor="middle">layer; largest difference</text>')
    for precision in result.precisions:
        colour = _COLOURS[precision]
        line = [
            f"{x(i):.1f},{y(total.relative):.1f}"
            for i, pair in enumerate(result.pairs)
            if (total := pair.errors[precision].total) is not None
        ]
        out.append(f'<polyline points="{" ".join(line)}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    for precision in result.precisions:
        for i, pair in enumerate(result.pairs):
            errors = pair.errors[precision]
            own = math.inf if errors.own is None else errors.own.relative
            fill, radius = ("#dc2626", 5) if errors.diverges else (_COLOURS[precision], 2)
            title = f"{i + 1}: {pair.layer} ({pair.type}), {precision} own {short_number(own)}"
            out.append(
                f'<circle cx="{x(i):.1f}" cy="{y(own):.1f}" r="{radius}" fill="{fill}"><title>{escape(title)}</title>'
                "</circle>"
            )
    out.append("</svg>")
    return "\n".join(out)


def _legend(result: Comparison) -> str:
    marks = ", ".join(f'<span style="color:{_COLOURS[p]}">{p}</span>' for p in result.precisions)
    return (
        f"<p>{marks}. Lines: ncnn running by itself, where all differences add up. Dots: each layer alone, run on the "
        "model's values of its inputs. Red: more than rounding and the tolerance explain. Differences are the largest "
        "of an element, as a part of the tensor's range.</p>"
    )


# What is wrong --------------------------------------------------------------------------------------------------------


def _divergences(result: Comparison) -> list[str]:
    out = []
    for at, first in firsts(result):
        text = "\n".join(line.strip() for line in describe(first, result.precisions))
        out += [f"<h2>First to diverge at {at}: {escape(first.layer)}</h2>", f"<pre>{escape(text)}</pre>"]
    return out


def _maps(result: Comparison, top: int) -> list[str]:
    worst_pairs = (*(pair for _, pair in firsts(result)), *result.worst(top))
    chosen = {pair.blob: pair for pair in worst_pairs if pair.maps is not None}
    if not chosen:
        return []
    out = ["<h2>Feature maps of the worst layers</h2>"]
    for pair in chosen.values():
        if pair.maps is not None:
            worst = max(errors.excess for errors in pair.errors.values())
            out.append(
                f"<h3>{escape(pair.layer)} ({escape(pair.type)}) = {escape(pair.tensor)}, channel "
                f"{pair.maps.channel}: {short_number(worst)} times what is allowed</h3>"
            )
            out += _figures(pair.maps)
    return out


def _figures(maps: FeatureMap) -> list[str]:
    both = np.concatenate([maps.expected.ravel(), maps.found.ravel()])
    both = both[np.isfinite(both)]
    low, high = (float(both.min()), float(both.max())) if both.size else (0.0, 1.0)
    scale = f"{low:.3g} to {high:.3g}"
    source = "on the model's values" if maps.own else "by itself"
    out = [
        _figure(_picture(maps.expected, low, high), f"model, {scale}"),
        _figure(_picture(maps.found, low, high), f"ncnn {source}, same scale"),
    ]
    if maps.expected.shape == maps.found.shape:
        gap = np.abs(maps.expected - maps.found)
        largest = float(np.nan_to_num(gap, nan=np.inf, posinf=np.inf).max(initial=0))
        limit = largest if math.isfinite(largest) and largest > 0 else 1.0
        out.append(_figure(_picture(gap, 0.0, limit), f"difference, 0 to {short_number(largest)}"))
    return out


def _picture(plane: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """A plane in colours, dark is low; values that are no numbers are grey."""
    finite = np.isfinite(plane)
    levels = (np.where(finite, plane, low) - low) * (255 / (high - low) if high > low else 0)
    grey = np.clip(levels, 0, 255).astype(np.uint8)
    coloured = cast(NDArray[np.uint8], cv2.applyColorMap(cast(Any, grey), cv2.COLORMAP_VIRIDIS))
    coloured[~finite] = 128
    return coloured


def _figure(picture: NDArray[np.uint8], caption: str) -> str:
    _, png = cv2.imencode(".png", cast(Any, picture))
    data = base64.b64encode(png.tobytes()).decode("ascii")
    height, width = picture.shape[:2]
    size = f'width="{_PICTURE}" height="{max(4, min(2 * _PICTURE, round(_PICTURE * height / width)))}"'
    return (
        f'<figure><img {size} alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


# The table ------------------------------------------------------------------------------------------------------------


def _table(result: Comparison) -> str:
    head = ["#", "layer", "type", "shape", "tensor", "covers", "paired by"]
    columns = ("own", "own / allowed", "own cosine", "total", "total cosine", "total absolute")
    cells = [f'<th class="l">{name}</th>' for name in head]
    cells += [f"<th>{precision} {name}</th>" for precision in result.precisions for name in columns]
    rows = ["<tr>" + "".join(cells) + "</tr>"]
    for i, pair in enumerate(result.pairs, 1):
        cells = [f'<td class="l">{escape(text)}</td>' for text in _words(i, pair)]
        for precision in result.precisions:
            cells += [f"<td>{text}</td>" for text in _numbers(pair.errors[precision])]
        bad = any(errors.diverges for errors in pair.errors.values())
        rows.append(("<tr class=bad>" if bad else "<tr>") + "".join(cells) + "</tr>")
    return '<div class="wide"><table>\n' + "\n".join(rows) + "\n</table></div>"


def _words(number: int, pair: Pair) -> Sequence[str]:
    shape = " x ".join(map(str, pair.shape)) or "fails"
    return (str(number), pair.layer, pair.type, shape, pair.tensor, " + ".join(pair.covers), pair.how)


def _numbers(errors: Errors) -> list[str]:
    def two(found: Difference | None) -> list[str]:
        return ["-", "-"] if found is None else [short_number(found.relative), f"{found.cosine:.6f}"]

    own, total = two(errors.own), two(errors.total)
    absolute = "-" if errors.total is None else short_number(errors.total.max_abs)
    return [own[0], short_number(errors.excess), own[1], *total, absolute]
