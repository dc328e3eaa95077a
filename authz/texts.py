"""Ids and display texts: which characters they may contain, their normal form, and how names are searched.

The rules follow UAX #15 (normal forms), UAX #44 (general categories) and the list of default-ignorable characters of
the Unicode Character Database; decision 0065 says why.
"""

import re
import unicodedata

from authz.errors import InvalidInput

LONGEST_ID = 128
LONGEST_TEXT = 500
_MOST_DIGITS = 18  # any number of so many digits fits into 64 bits
LONGEST_REFERENCE = 64
LONGEST_SORT_KEY = 128
MOST_WORDS = 16
"""The most words of one search; further words are ignored."""

_CONTROLS = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters, marks and symbols without a shape: fillers, the combining grapheme joiner, the blank Braille pattern.
_SHAPELESS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffc")
_SELECTORS = frozenset(map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
_JOINERS = frozenset("\u200c\u200d")
_SEPARATOR = "\n"


def quote_value(value: object) -> str:
    """Return a value for an error message: on one line, and short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def is_visible(character: str) -> bool:
    """Return whether a character has a shape or changes that of the one before: no blank, control or filler."""
    category = unicodedata.category(character)
    return category not in _CONTROLS and category != "Zs" and character not in _SHAPELESS | _SELECTORS


def parse_id(value: object) -> str:
    """Return a new id: 1–128 visible characters in normal form C that can be a segment of a URL path.

    ``.``, ``..`` and a slash cannot, encoded or not: WSGI decodes PATH_INFO. Raises `InvalidInput`.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"an id is a string, not {quote_value(value)}")
    if not 1 <= len(value) <= LONGEST_ID:
        raise InvalidInput(f"an id has 1 to {LONGEST_ID} characters, this one has {len(value)}")
    if not all(map(is_visible, value)) or _begins_with_mark(value):
        raise InvalidInput(f"an id contains visible characters only, {quote_value(value)} does not")
    if value in (".", "..") or "/" in value:
        raise InvalidInput(f"an id is not . or .. and contains no slash, unlike {quote_value(value)}")
    if not unicodedata.is_normalized("NFC", value):
        raise InvalidInput(f"an id is in Unicode's normal form C, {quote_value(value)} is not")
    return value


def is_stored_id(name: object) -> bool:
    """Return whether a text may be a stored id, also by the wider rule before release 0.2."""
    return isinstance(name, str) and 1 <= len(name) <= LONGEST_ID and name.isprintable() and " " not in name


def parse_stored_id(value: object) -> str:
    """Return an id that may be stored already, also by the wider rule before 0.2. Raises `InvalidInput` otherwise."""
    return str(value) if is_stored_id(value) else parse_id(value)


def parse_text(value: object) -> str:
    """Return a display text such as a name in its stored form: 1–500 characters, normal form C, single blanks inside.

    It has a visible character, no control or invisible character, and no combining mark without a character before it.
    Joiners and variation selectors, which scripts and emoji need, follow a visible character. Raises `InvalidInput`.
    """
    return _parse_display_text(value, "a text", LONGEST_TEXT)


def parse_number(text: str) -> int:
    """Return the number of a row, such as a share, from the digits 0 to 9. Raises `InvalidInput` for other texts."""
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise InvalidInput(f"{quote_value(text)} is no number of at most {_MOST_DIGITS} digits")
    return int(text)


def parse_reference(value: object) -> str:
    """Return a clinic's own number of a patient in its stored form: 1–64 characters, as in a name.

    Raises `InvalidInput`.
    """
    return _parse_display_text(value, "a reference", LONGEST_REFERENCE)


def _parse_display_text(value: object, noun: str, longest: int) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{noun} is a string, not {quote_value(value)}")
    if len(value) > longest:
        raise InvalidInput(f"{noun} has 1 to {longest} characters, this one has {len(value)}")
    text = _normalise_blanks(value)
    if not text:
        raise InvalidInput(f"{noun} has 1 to {longest} characters, some of them visible, unlike {quote_value(value)}")
    if not 1 <= len(text) <= longest:
        raise InvalidInput(f"{noun} has 1 to {longest} characters, this one has {len(text)} in normal form C")
    before = " "
    for character in text:
        if character in _JOINERS | _SELECTORS:
            if before == " ":
                raise InvalidInput(f"{noun} has nothing before the invisible character in {quote_value(value)}")
        elif character == " " or is_visible(character):
            if before == " " and _begins_with_mark(character):
                raise InvalidInput(f"{noun} has a combining mark without a letter before it: {quote_value(value)}")
        else:
            raise InvalidInput(
                f"{noun} contains no control characters and no invisible ones, unlike {quote_value(value)}"
            )
        before = character
    return text


def _normalise_blanks(text: str) -> str:
    """Return normal form C with single spaces between words and none at the ends; line ends stay, to be refused."""
    return re.sub(r"[^\S\n\r\v\f\x1c-\x1f\x85\u2028\u2029]+", " ", unicodedata.normalize("NFC", text)).strip(" ")


def _begins_with_mark(text: str) -> bool:
    return unicodedata.category(text[0]).startswith("M")


def normalise_stored(text: str) -> str:
    """Return a text from before the rule in its present form, or unchanged if `parse_text` would refuse it."""
    try:
        return parse_text(text)
    except InvalidInput:
        return text


def fold(text: str) -> str:
    """Return a text for search and order: without compatibility forms, case and diacritics, with single blanks.

    ``fold("İpek") == fold("IPEK") == "ipek"``; a letter that Unicode does not decompose (``ł``, ``ø``) is kept.
    """
    if text.isascii():  # nothing to decompose; most texts are ASCII
        return " ".join(text.lower().split())
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    letters = (character for character in decomposed if not _is_modifier(character))
    return " ".join("".join(letters).split())


def _is_modifier(character: str) -> bool:
    """Return whether a character only modifies the one before.

    Vowel signs are letters of their own: those of category Mc, and those of category Mn with combining class 0.
    """
    return unicodedata.combining(character) != 0 or character in _JOINERS or character in _SELECTORS


def search_key(name: str, *others: str) -> str:
    """Return the stored search key of a row: its folded name, then other folded texts, so that names order rows."""
    return _SEPARATOR.join(fold(text) for text in (name, *others))


def describe_patient(name: str, reference: str | None) -> str:
    """Return a patient's name for sentences and choices, with the clinic's own number if there is one."""
    return f"{name} ({reference})" if reference else name


def matches_search(key: str, q: str) -> bool:
    """Return whether every word of a search occurs in a search key; a search without letters matches nothing."""
    wanted = search_words(q)
    return all(word in key for word in wanted) and (bool(wanted) or not q.strip())


def sort_key(key: str) -> str:
    """Return the beginning of a search key, by which lists are ordered; rows with the same beginning go by id."""
    return key[:LONGEST_SORT_KEY]


def search_words(q: str) -> list[str]:
    """Return the folded words of a search; each must occur in the key, in any order."""
    return list(dict.fromkeys(fold(q).split()))[:MOST_WORDS]
