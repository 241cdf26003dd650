"""The same statistics written again, one document and one character at a time: slow and plain."""

import re
import unicodedata
from collections import Counter

STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
BLOCKS = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "KATAKANA")


def is_word_char(char):
    return char.isalnum() or char == "_"


def is_ideograph(char):
    if not ord(char) >= 0x3040:
        return False
    return unicodedata.name(char, "").startswith(BLOCKS) and ord(char) < 0x30000


def joins(text, i):
    """A point, comma or apostrophe with a word character on both sides."""
    return (
        text[i] in ".,'’"
        and 0 < i < len(text) - 1
        and is_word_char(text[i - 1])
        and is_word_char(text[i + 1])
    )


def pieces(text):
    found, i = [], 0
    while i < len(text):
        start = i
        char = text[i]
        i += 1
        if char.isspace():
            continue
        if is_ideograph(char):
            pass
        elif is_word_char(char) or joins(text, start):
            while i < len(text) and not is_ideograph(text[i]):
                if not (is_word_char(text[i]) or (joins(text, i) and text[i] in ".,")):
                    break
                i += 1
        elif char == ".":
            while i < len(text) and text[i] == "." and not joins(text, i):
                i += 1
        found.append(text[start:i])
    return found


def top_gram(words, n):
    grams = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
    if not grams:
        return 0
    gram, count = Counter(grams).most_common(1)[0]
    return len(gram) * count


def duplicate_gram(words, n):
    seen, chars, free = set(), 0, 0
    for i in range(len(words) - n + 1):
        gram = tuple(words[i : i + n])
        if gram in seen and i >= free:
            chars += sum(map(len, gram))
            free = i + n
        seen.add(gram)
    return chars


def duplicates(parts):
    seen, count, chars = set(), 0, 0
    for part in parts:
        if part in seen:
            count += 1
            chars += len(part)
        seen.add(part)
    return count, chars


def statistics(text):
    """Of one document that is not empty and has no space at its ends."""
    tokens = pieces(text)
    words = [t for t in tokens if any(c.isalnum() for c in t)]
    lines = re.split("\n+", text)
    paragraphs = re.split("\n\n+", text)
    written = [line for line in lines if line.strip()]
    n = len(text)
    found = {
        "pieces": len(tokens),
        "words": len(words),
        "mean_word_length": sum(map(len, words)) / len(words) if words else 0,
        "alpha_words": sum(any(c.isalpha() for c in t) for t in tokens) / len(tokens),
        "stop_words": len(set(tokens) & STOP_WORDS),
        "symbol_ratio": max(text.count("#"), text.count("...") + text.count("…")) / len(tokens),
        "dup_lines": duplicates(lines)[0] / len(lines),
        "dup_line_chars": duplicates(lines)[1] / n,
        "dup_paragraphs": duplicates(paragraphs)[0] / len(paragraphs),
        "dup_paragraph_chars": duplicates(paragraphs)[1] / n,
        "dup_text_chars": duplicates(written)[1] / len(text.replace("\n", "")),
        "short_lines": sum(len(line) <= 30 for line in written) / len(written),
        "list_ratio": text.count("\n") / len(tokens),
    }
    found |= {f"top_{k}gram": top_gram(tokens, k) / n for k in (2, 3, 4)}
    return found | {f"dup_{k}gram": duplicate_gram(tokens, k) / n for k in range(5, 11)}
