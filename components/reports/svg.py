"""Matplotlib figures as small inline SVG with the colours and the font of the page around it."""

import io
import re
import warnings
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Drawn in these colours and then replaced by the page's variables, so that one drawing serves the
# light and the dark page; the value after the comma is used where there is no page (a notebook).
INK, MUTED, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
SERIES = ("#050501", "#050502", "#050503", "#050504")
_VARIABLES = {
    INK: "var(--ink, #1d2327)",
    MUTED: "var(--muted, #667078)",
    GRID: "var(--line, #e3e3dd)",
    PAPER: "var(--paper, #ffffff)",
    SERIES[0]: "var(--series-1, #0b6a88)",
    SERIES[1]: "var(--series-2, #c8701a)",
    SERIES[2]: "var(--series-3, #6b7f39)",
    SERIES[3]: "var(--series-4, #8a5a9e)",
}

# The names are typed in some versions of matplotlib and plain strings in others.
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "headrace",
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
}


@dataclass(frozen=True)
class Drawing:
    """One finished figure: shown in a page by its `svg`, in a notebook by itself.

    Attributes:
        title: What it shows, in a few words.
        svg: An `<svg>` element with a `viewBox` and no fixed size.
    """

    title: str
    svg: str

    def _repr_html_(self) -> str:
        return f'<div style="max-width:560px;font-family:sans-serif">{self.svg}</div>'


def new_axes(width_in: float = 5.0, height_in: float = 3.0) -> tuple[Figure, Axes]:
    """Return an empty figure in the page's style; 1 inch is about 100 px on the page."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        axes = figure.add_subplot()
    axes.tick_params(axis="y", length=0)
    return figure, axes


def draw(figure: Figure, name: str, title: str) -> Drawing:
    """Render a figure.

    Args:
        figure: As `new_axes` made it, with something drawn.
        name: Letters and digits; makes the element ids unique within a page.
        title: Read aloud by screen readers and shown as the figure's heading.
    """
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # Glyphs that the layout font lacks are drawn by the browser with a font that has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return Drawing(title, _clean(buffer.getvalue(), name, title))


def _clean(document: str, name: str, title: str) -> str:
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    view = re.search(r'viewBox="([^"]+)"', svg)
    assert view is not None
    opening = (
        f'<svg viewBox="{view.group(1)}" role="img" aria-label="{escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    svg = opening + svg[svg.index(">") + 1 :]
    svg = _unique_ids(svg, name)
    svg = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", "var(--font, sans-serif)", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return re.sub(r"\s*\n\s*", "\n", svg).strip()


def _unique_ids(svg: str, name: str) -> str:
    used = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg))
    kept = {first or second for first, second in used}
    svg = re.sub(
        r' id="([^"]+)"',
        lambda match: f' id="{name}-{match.group(1)}"' if match.group(1) in kept else "",
        svg,
    )
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
