"""A page of text, tables and figures, written as Markdown and as HTML from one description."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from ..imaging.files import write_whole

_STYLE = """
body { font: 15px/1.5 Helvetica, Arial, sans-serif; color: #1c1c1c; max-width: 60em; margin: 2em auto; padding: 0 1em }
h1, h2 { font-weight: 600; line-height: 1.2 } h2 { margin-top: 2em }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums }
th, td { padding: .25em .8em; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
th { border-bottom: 2px solid #888 } td.number, th.number { text-align: right }
figure { margin: 1.5em 0 } figcaption { color: #555; font-size: 90% } img, svg { max-width: 100%; height: auto }
code { background: #f2f2f2; padding: .1em .3em }
"""


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph; `backticks` mark code."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of paragraphs."""

    texts: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows of cells; numbers are shown with three significant digits, None as a dash."""

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Figure:
    """A drawing, kept as ``figures/NAME.svg``."""

    name: str
    svg: str
    caption: str


@dataclass(frozen=True)
class Picture:
    """An image file, by its path from the page's folder."""

    path: str
    caption: str


Block = Heading | Text | Items | Table | Figure | Picture


def write_document(folder: Path, name: str, title: str, blocks: Sequence[Block]) -> None:
    """Write ``NAME.md`` and ``NAME.html`` into ``folder`` (which exists), with their figures.

    Raises
    ------
    InputError
        If the folder cannot be written to.
    """
    figures = [block for block in blocks if isinstance(block, Figure)]
    if figures:
        (folder / "figures").mkdir(exist_ok=True)
    for figure in figures:
        _write(folder / "figures" / f"{figure.name}.svg", figure.svg)
    _write(folder / f"{name}.md", f"# {title}\n\n" + "\n\n".join(map(_markdown, blocks)) + "\n")
    body = "\n".join(map(_html, blocks))
    _write(
        folder / f"{name}.html",
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>\n'
        f"<h1>{escape(title)}</h1>\n{body}\n</body></html>\n",
    )


def shown(value: Any) -> str:
    """A cell's value as text."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"## {block.text}"
    if isinstance(block, Text):
        return block.text
    if isinstance(block, Items):
        return "\n".join(f"- {text}" for text in block.texts)
    if isinstance(block, Figure):
        return f"![{block.caption}](figures/{block.name}.svg)\n\n*{block.caption}*"
    if isinstance(block, Picture):
        return f"![{block.caption}]({block.path})\n\n*{block.caption}*"
    numeric = _numeric(block)
    rows = [[shown(cell).replace("|", "\\|") for cell in row] for row in block.rows]
    lines = [list(block.head), ["---:" if right else "---" for right in numeric], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h2>{escape(block.text)}</h2>"
    if isinstance(block, Text):
        return f"<p>{_inline(block.text)}</p>"
    if isinstance(block, Items):
        return "<ul>" + "".join(f"<li>{_inline(text)}</li>" for text in block.texts) + "</ul>"
    if isinstance(block, Figure):
        return f"<figure>{block.svg}<figcaption>{_inline(block.caption)}</figcaption></figure>"
    if isinstance(block, Picture):
        image = f'<img src="{escape(block.path)}" alt="{escape(block.caption)}" loading="lazy">'
        return f"<figure>{image}<figcaption>{_inline(block.caption)}</figcaption></figure>"
    kinds = [' class="number"' if right else "" for right in _numeric(block)]
    head = "".join(f"<th{kind}>{_inline(cell)}</th>" for cell, kind in zip(block.head, kinds))
    rows = [
        "<tr>" + "".join(f"<td{kind}>{_inline(shown(cell))}</td>" for cell, kind in zip(row, kinds)) + "</tr>"
        for row in block.rows
    ]
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _numeric(table: Table) -> list[bool]:
    """Which columns are of numbers or percentages: those are aligned to the right."""

    def is_number(cell: Any) -> bool:
        return cell is None or isinstance(cell, int | float) or str(cell).endswith(" %")

    return [
        bool(table.rows)
        and all(is_number(row[n]) for row in table.rows)
        and any(row[n] is not None for row in table.rows)
        for n in range(len(table.head))
    ]


def _inline(text: str) -> str:
    """Escaped, `backticks` as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda made: made.write_text(text, encoding="utf-8", newline="\n"))
