"""The text of an HTML page, without navigation, scripts and style."""

import re

from isoflop._errors import MissingExtraError
from isoflop.data.documents import HeldDocument, make_document

_DECLARED = re.compile(
    rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?([\w.:-]+)""", re.IGNORECASE
)
_DECLARED_WITHIN = 4096
_WIDE = re.compile(r"utf[-_]?(?:16|32)", re.IGNORECASE)


def read_page(name: str, content: bytes) -> HeldDocument:
    """The main text of a page, paragraphs parted by line ends; empty where there is none.

    Extraction by Resiliparse, the extractor of DataComp-LM (Li et al. 2024, arXiv:2406.11794,
    section 4.2), which found it as good for training as slower ones.

    Raises:
        MissingExtraError: the extra `html` is not installed.
    """
    try:
        from resiliparse.extract.html2text import extract_plain_text
    except ImportError as error:
        raise MissingExtraError("resiliparse", extra="html", needed_for="reading HTML") from error
    markup, replaced = _decode(content)
    page = make_document(name, str(extract_plain_text(markup, main_content=True)))
    return HeldDocument(
        name=name, text=page.text, digest=page.digest, n_bytes=page.n_bytes, replaced=replaced
    )


def _decode(content: bytes) -> tuple[str, bool]:
    """UTF-8, else the encoding that the page declares, else UTF-8 with bytes replaced."""
    found = _DECLARED.search(content[:_DECLARED_WITHIN])
    declared = found.group(1).decode("ascii") if found else "utf-8"
    # A declaration that is read byte by byte is not in UTF-16, whatever it says (HTML, 13.2.3.2).
    encodings = ("utf-8-sig",) if _WIDE.match(declared) else ("utf-8-sig", declared)
    for encoding in encodings:
        try:
            return content.decode(encoding), False
        except (UnicodeError, LookupError):  # the codec `undefined` raises the former
            continue
    return content.decode("utf-8-sig", "replace"), True
