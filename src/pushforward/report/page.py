"""A page of sections: the template, its pieces, and the folder it is written to.

The page is one file: styles and pictures stand inside it, it has no script, and its content-security rule lets a
browser load nothing from anywhere. All text goes through ``Markup.format`` or the template, which escape it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING

from markupsafe import Markup

from pushforward.report.grids import Pictures, data_uri, image_grid

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Section:
    """One part of the page: a heading, the name it is linked by, and its content."""

    title: str
    anchor: str
    body: Markup


@dataclass(frozen=True)
class Page:
    """Everything that the template shows.

    Attributes:
        title: Of the browser tab and the main heading.
        overline: The small line above the heading.
        lead: The summary below the heading.
        facts: Name -> value pairs below the summary.
        warnings: Sentences shown before anything else.
        sections: The parts, in order.
        footer: The closing line.
    """

    title: str
    overline: str
    lead: Markup
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = ()
    footer: str = ""


def render_page(page: Page) -> str:
    """The page as HTML text."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_resource("report.html.j2"))
    return template.render(page=page, css=Markup(_resource("report.css")))


def _resource(name: str) -> str:
    return resources.files("pushforward.report").joinpath(name).read_text(encoding="utf-8")


# ----------------------------------------------------------------------------------------------------------- pieces


def join(*parts: Markup | None) -> Markup:
    """The parts that exist, one after the other."""
    return Markup("\n").join(part for part in parts if part)


def paragraph(text: str | Markup, kind: str = "") -> Markup:
    """A paragraph; plain strings are escaped."""
    return Markup('<p class="{}">{}</p>').format(kind, text) if kind else Markup("<p>{}</p>").format(text)


def heading(text: str) -> Markup:
    """A heading inside a section."""
    return Markup("<h3>{}</h3>").format(text)


def columns(*parts: Markup | None, kind: str = "two") -> Markup:
    """Parts side by side where there is room, below each other where there is not."""
    cells = Markup("").join(Markup("<div>{}</div>").format(part) for part in parts if part)
    return Markup('<div class="columns {}">{}</div>').format(kind, cells)


def figure(content: Markup, caption: str | Markup = "") -> Markup:
    """A chart or a picture with its caption."""
    told = Markup("<figcaption>{}</figcaption>").format(caption) if caption else Markup()
    return Markup("<figure>{}{}</figure>").format(content, told)


def grid_figure(images: Pictures, caption: str, alt: str, *, columns: int = 8) -> Markup:
    """A grid of ``images [n, h, w, c]`` as a figure."""
    return figure(_picture(image_grid(images, columns=min(columns, len(images)), background=None), alt), caption)


def rows_figure(rows: Sequence[Pictures], labels: Sequence[str], caption: str) -> Markup:
    """Rows of pictures below each other as a figure, each with its label (text of the page, so that it stays readable)."""
    strips = [
        Markup("<span>{}</span>{}").format(label, _picture(image_grid(row, columns=len(row), background=None), label))
        for row, label in zip(rows, labels, strict=True)
    ]
    return figure(Markup('<div class="strips">{}</div>').format(Markup("").join(strips)), caption)


def _picture(image: Image, alt: str) -> Markup:
    tag = Markup('<img src="{}" alt="{}" width="{}" height="{}">')
    return tag.format(data_uri(image), alt, image.width, image.height)


def table(head: Sequence[str], rows: Iterable[Sequence[str | Markup]], caption: str = "", kind: str = "") -> Markup:
    """A table that scrolls sideways inside its own box; the first cell of a row is its name."""
    top = Markup("").join(Markup('<th scope="col">{}</th>').format(cell) for cell in head)
    body = Markup("\n").join(_table_row(row) for row in rows)
    told = Markup("<caption>{}</caption>").format(caption) if caption else Markup()
    label = caption or "Table"
    return Markup(
        '<div class="scroll" role="region" aria-label="{}" tabindex="0"><table class="{}">{}'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(label, kind, told, top, body)


def _table_row(cells: Sequence[str | Markup]) -> Markup:
    first = Markup('<th scope="row">{}</th>').format(cells[0])
    return Markup("<tr>{}{}</tr>").format(first, Markup("").join(Markup("<td>{}</td>").format(c) for c in cells[1:]))


def definitions(items: Mapping[str, str | Markup]) -> Markup:
    """Names and their values."""
    rows = (Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, value) for name, value in items.items())
    return Markup('<dl class="facts">{}</dl>').format(Markup("").join(rows))


def code(text: str, label: str) -> Markup:
    """A block to copy: one click selects all of it."""
    return Markup('<pre class="copy" tabindex="0" aria-label="{}"><code>{}</code></pre>').format(label, text)
