"""Cleans a prompt as open_clip does before it is tokenised; CLIP's own tokenizer does not, but HPS was trained on such text."""

import html
import unicodedata

try:
    from ftfy import fix_text
except ModuleNotFoundError:
    fix_text = None

_LIGATURES = {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in (*range(0xFB00, 0xFB07), 0x132, 0x133, *range(0x1C4, 0x1CD))}
_WIDE = {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in (0x3000, *range(0xFF01, 0xFFEF))}
_QUOTES = dict.fromkeys("\u02bc\u2018\u2019\u201a\u201b", "'") | dict.fromkeys("\u201c\u201d\u201e\u201f", '"')
_INVISIBLE = dict.fromkeys((*range(9), 11, *range(14, 32), 127, *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD)), "")
_PLAIN = str.maketrans(_LIGATURES | _WIDE | _QUOTES) | _INVISIBLE


def clean(prompt: str) -> str:
    """Replaces curly quotes, ligatures, full-width forms and HTML entities by plain characters, collapses white space, and lower-cases.

    With the package `ftfy` (open_clip requires it) it also repairs mojibake such as "cafÃ©".
    """
    fixed = fix_text(prompt) if fix_text else unicodedata.normalize("NFC", html.unescape(prompt).translate(_PLAIN))
    return " ".join(html.unescape(html.unescape(fixed)).split()).lower()
