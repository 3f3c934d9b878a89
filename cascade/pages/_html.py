"""The parts of an HTML page: headlines, tables, pictures as inline SVG, one style for screen and print.

Every text is escaped here, and only here; what these functions return is HTML. A page loads nothing: no
script, no font, no picture from anywhere else, and its policy forbids it.
"""

from __future__ import annotations

import html
import io
import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import __version__
from .._badrows import show
from ..errors import InputError, InputTypeError
from ..plot._look import GREY

INK = "#010203"
"""The colour of a picture's text, which the page replaces by its own."""
INKED = (
    "text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color",
    "legend.labelcolor",
)  # fmt: skip
NO_PICTURES = (
    "This page has no pictures: they need matplotlib, which was not installed where it was made "
    "(pip install 'liquidation-cascade[plot]')."
)
LONGEST = 80
"""Characters of a name in a table."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
:root { color-scheme: light dark; --ink: #16181d; --soft: #5b6068; --line: #d5d8de; --page: #fff;
  --tile: #f4f5f7; --bad: #a33b00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaee; --soft: #a2a8b2; --line: #363b44;
  --page: #14161a; --tile: #1e2127; --bad: #ff9a5c; } }
@media print { :root { color-scheme: light; --ink: #000; --soft: #444; --line: #bbb; --page: #fff;
  --tile: #fff; --bad: #a33b00; }
  main { max-width: none; padding: 0; } figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; } }
@page { margin: 16mm; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
p { margin: .4rem 0; max-width: 48rem; }
.soft, figcaption, caption { color: var(--soft); font-size: .87rem; }
.bad { color: var(--bad); font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(12.5rem, 1fr)); gap: .7rem;
  margin: 1.1rem 0; }
.tile { background: var(--tile); border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem; }
.tile div { font-size: .82rem; color: var(--soft); }
.tile strong { display: block; font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0 1rem; font-variant-numeric: tabular-nums;
  font-size: .9rem; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .22rem .8rem .22rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; overflow-wrap: break-word; }
th { font-weight: 600; color: var(--soft); }
th.n, td.n { text-align: right; white-space: nowrap; }
figure { margin: 1rem 0; }
svg { max-width: 100%; height: auto; display: block; }
svg text { font-family: inherit !important; }
footer { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: .6rem; color: var(--soft);
  font-size: .82rem; overflow-wrap: anywhere; }
"""


def escape(text: Any, longest: int | None = None) -> str:
    """A text as HTML shows it: markup and quotes escaped, characters that cannot be printed spelled out."""
    text = str(text)
    text = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    return html.escape(text, quote=True)


def paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def tiles(numbers: Iterable[tuple[str, str, str]]) -> str:
    """Headline numbers: (what, the number with its unit, a note)."""
    cells = (
        f'<div class="tile"><div>{escape(what)}</div><strong>{escape(number)}</strong>'
        f"<div>{escape(note)}</div></div>"
        for what, number, note in numbers
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Any]], text_columns: int = 1) -> str:
    """A table of texts; all but the first `text_columns` columns are numbers, set to the right.
    Texts beside numbers are names, and cut where they are very long."""

    def line(cells: Sequence[Any], tag: str) -> str:
        longest = LONGEST if tag == "td" and text_columns < 3 else None
        number = ' class="n"'
        start = '<th scope="col"' if tag == "th" else "<td"
        inner = (
            f"{start}{number if k >= text_columns else ''}>{escape(cell, longest)}</{tag}>"
            for k, cell in enumerate(cells)
        )
        return f"<tr>{''.join(inner)}</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption>\n'
        f"<thead>{line(header, 'th')}</thead>\n"
        f"<tbody>{body}</tbody></table></div>"
    )


def section(heading: str, *parts: str) -> str:
    return (
        f"<section>\n<h2>{escape(heading)}</h2>\n"
        + "\n".join(part for part in parts if part)
        + "\n</section>"
    )


class Pictures:
    """Draws pictures into a page, numbered; nothing where matplotlib is missing."""

    def __init__(self) -> None:
        self.possible, self._count = find_spec("matplotlib") is not None, 0

    def draw(self, caption: str, draw: Callable[[Any], Any], height: float = 3.2, width: float = 9.6) -> str:
        """A figure: `draw` is called with its Axes; width and height in inches."""
        if not self.possible:
            return ""
        import matplotlib as mpl
        from matplotlib.figure import Figure

        self._count += 1
        style: dict[Any, Any] = dict.fromkeys(INKED, INK)
        style |= {"axes.facecolor": "none", "figure.facecolor": "none", "font.size": 10}
        style |= {"svg.fonttype": "none", "svg.hashsalt": "cascade"}
        buffer = io.StringIO()
        with mpl.rc_context(), warnings.catch_warnings():
            mpl.rcdefaults()  # the caller's style is for the caller's pictures
            mpl.rcParams.update(style)
            warnings.filterwarnings("ignore", message=".*[Gg]lyph")  # the page's fonts may have it
            figure = Figure(figsize=(width, height), layout="constrained")
            draw(figure.add_subplot())
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return (
            f"<figure>{inline(buffer.getvalue(), f'f{self._count}', caption)}"
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )


def inline(svg: str, prefix: str, caption: str) -> str:
    """A picture of matplotlib's as part of a page: no prologue, ids of its own, text in the page's colour."""
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)

    def inside(tag: re.Match[str]) -> str:
        text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", tag[0]).replace("xlink:href=", "href=")
        text = re.sub(r'\b(id|clip-path|href|style|fill)="([^"]*)"', own, text)
        return text.replace(INK, "currentColor").replace(GREY, "var(--soft)")

    def own(attribute: re.Match[str]) -> str:
        key, value = attribute[1], attribute[2]
        if key == "id":
            return f'id="{prefix}-{value}"'
        if key == "href":
            return f'href="#{prefix}-{value[1:]}"' if value.startswith("#") else attribute[0]
        return f'{key}="{value.replace("url(#", f"url(#{prefix}-")}"'

    svg = re.sub(r"<[^>]*>", inside, svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(caption)}" ', 1)


def page(title: str, *parts: str, foot: str) -> str:
    """A whole page."""
    made = f"Made by cascade {__version__}. {foot}"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{escape(title, 120)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + f"\n<footer>{escape(made)}</footer>\n</main>\n</body>\n</html>\n"
    )


def write(path: Any, what: str, title: Any, currency: Any, make: Callable[[], str]) -> Path:
    """Check the caller's arguments, make the page, write it."""
    for key, value in (("title", title), ("currency", currency)):
        if not isinstance(value, str):
            raise InputTypeError(f"{what}.{key} = {show(value)}: must be a string")
    if not isinstance(path, str | os.PathLike):
        raise InputTypeError(f"{what}.path = {show(path)}: must be a path")
    if not Path(path).parent.is_dir():
        raise InputError(f"{what}.path = {show(str(path))}: {Path(path).parent} must be a directory")
    text = make()
    Path(path).write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    return Path(path)
