"""Small pure builders of safe HTML: every text is escaped, the page's own policy forbids the rest.

A piece of finished markup is a `Markup`; a plain `str` is text and is escaped wherever it enters.
"""

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class Markup:
    """Finished HTML, which is not escaped again."""

    html: str


Content = str | Markup


def text(content: Content) -> str:
    """The HTML of a piece of content: text escaped (quotes too), markup as it is."""
    return content.html if isinstance(content, Markup) else html.escape(content, quote=True)


def join(parts: Iterable[Content]) -> Markup:
    """Pieces one after another."""
    return Markup("\n".join(text(part) for part in parts))


def element(tag: str, *children: Content, **attributes: str) -> Markup:
    """One element; attribute `class_` is written `class`, and every value is escaped."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(value, quote=True)}"'
        for name, value in attributes.items()
    )
    return Markup(f"<{tag}{written}>{''.join(text(child) for child in children)}</{tag}>")


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[Content]],
    *,
    caption: str = "",
    text_columns: int = 1,
) -> Markup:
    """A table in its own scrolling box; the first `text_columns` columns are aligned left."""

    def line(cells: Sequence[Content], tag: str) -> Markup:
        return element(
            "tr",
            *(
                element(tag, cell, class_="text" if index < text_columns else "number")
                for index, cell in enumerate(cells)
            ),
        )

    head = element("thead", line(header, "th"))
    body = element("tbody", *(line(row, "td") for row in rows))
    title = [element("caption", caption)] if caption else []
    # A focusable region, so that a wide table can be scrolled from the keyboard.
    label = caption or ", ".join(header)
    return element(
        "div",
        element("table", *title, head, body),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=label,
    )


def picture(*, light: bytes, dark: bytes, alt: str, caption: str) -> Markup:
    """A figure from two SVG renderings, chosen by the reader's colour scheme."""
    # `source` and `img` are void elements: no closing tag.
    source = f'<source media="(prefers-color-scheme: dark)" srcset="{_data_uri(dark)}">'
    image = f'<img src="{_data_uri(light)}" alt="{html.escape(alt, quote=True)}">'
    return element(
        "figure",
        element("picture", Markup(source + image)),
        element("figcaption", caption),
    )


def section(name: str, title: str, *parts: Content) -> Markup:
    """One section of the page with an anchor."""
    return element("section", element("h2", title), *parts, id=name)


def page(title: str, body: Content) -> str:
    """The whole document, whose policy allows its own style sheet and data: images only."""
    style = resources.files("isoflop.reports").joinpath("report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        # The policy's single quotes stay bare: inside double quotes they need no escape.
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{text(title)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n{text(body)}\n</body>\n</html>\n"
    )


def _data_uri(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
