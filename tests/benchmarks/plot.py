"""A picture of one run: bars of the ratio to the loop, with what became of each after a kill."""

from collections.abc import Mapping
from html import escape
from typing import Any

_WIDTH, _LEFT, _BAR, _LINE, _TOP = 960, 130, 420, 44, 70
_INK, _SOFT, _RIGHT, _WRONG, _GRID = "#1a1a1a", "#666666", "#2f6f9f", "#b5482f", "#dddddd"


def as_svg(result: Mapping[str, Any]) -> str:
    """Return the picture of a result as `report.as_json` gives it; only contenders beside the loop are shown."""
    shown = [row for row in result["contenders"] if row["ratio_to_loop"] is not None or row["missing"]]
    most = max([1.0, *(row["ratio_to_loop"] or 0.0 for row in shown)])
    height = _TOP + _LINE * len(shown) + 30
    what = f"{result['events']:,} events, {result['cpus']} CPUs, Python {result['python']}, {result['at']}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        _text(12, 26, "Events per CPU second, ratio to the hand-written loop", size=17),
        _text(12, 46, what, size=12, ink=_SOFT),
    ]
    for tenth in range(int(most * 4) + 1):
        x = _LEFT + _BAR * tenth / 4 / most
        parts.append(f'<path d="M{x:.1f} {_TOP - 8}V{height - 24}" stroke="{_GRID}"/>')
        parts.append(_text(x, height - 8, f"{tenth / 4:g}", size=11, ink=_SOFT, anchor="middle"))
    for number, row in enumerate(shown):
        parts += _bar(row, _TOP + _LINE * number, most)
    return "\n".join([*parts, "</svg>", ""])


def _bar(row: Mapping[str, Any], top: int, most: float) -> list[str]:
    name = _text(_LEFT - 10, top + 19, row["name"], anchor="end")
    if row["missing"]:
        return [name, _text(_LEFT + 6, top + 19, f"missing: {row['missing']}", size=12, ink=_SOFT)]
    length = _BAR * row["ratio_to_loop"] / most
    colour = _RIGHT if row["right"] else _WRONG
    figures = f"{row['ratio_to_loop']:.3f}, {row['cpu_seconds_per_million']:.1f} CPU s a million"
    after = f"after a kill: {row['after_kill'] or 'not killed'}"
    return [
        name,
        f'<rect x="{_LEFT}" y="{top}" width="{length:.1f}" height="28" fill="{colour}"/>',
        _text(_LEFT + length + 8, top + 12, figures + ("" if row["right"] else ", WRONG"), size=12),
        _text(_LEFT + length + 8, top + 27, after, size=11, ink=_SOFT),
    ]


def _text(x: float, y: float, text: str, *, size: int = 14, ink: str = _INK, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y}" font-size="{size}" fill="{ink}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(text)}</text>"
