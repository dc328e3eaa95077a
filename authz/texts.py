"""The one rule for ids, and for names: which characters they hold, their normal form, and how names are searched.

It knows Unicode and nothing else. The rule follows UAX #15 (normal forms), UAX #44 (general categories) and the list of
default-ignorable characters of the Unicode Character Database; decision 0065 says why.
"""

import re
import unicodedata

from authz.errors import InvalidInput

LONGEST_ID = 128
LONGEST_TEXT = 500
_MOST_DIGITS = 18  # what fits into 64 bits whatever the digits are
LONGEST_REFERENCE = 64
LONGEST_SORT_KEY = 128
MOST_WORDS = 16
"""The most words of one search; what follows is left out."""

_CONTROLS = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters, marks and symbols without a shape: fillers, the combining grapheme joiner, the blank Braille pattern.
_SHAPELESS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffc")
_SELECTORS = frozenset(map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
_JOINERS = frozenset("\u200c\u200d")
_SEPARATOR = "\n"


def quote_value(value: object) -> str:
    """A value as an error message quotes it: on one line, and short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def is_visible(character: str) -> bool:
    """Whether a character has a shape of its own or changes that of the one before: no blank, control or filler."""
    category = unicodedata.category(character)
    return category not in _CONTROLS and category != "Zs" and character not in _SHAPELESS | _SELECTORS


def parse_id(value: object) -> str:
    """A new id, as it is stored: 1–128 visible characters in normal form C that can stand in a segment of a path.

    ``.`` and ``..`` cannot, nor can a slash, encoded or not: WSGI decodes PATH_INFO. Raises `InvalidInput`.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"an id is a string, not {quote_value(value)}")
    if not 1 <= len(value) <= LONGEST_ID:
        raise InvalidInput(f"an id has 1 to {LONGEST_ID} characters, this one has {len(value)}")
    if not all(map(is_visible, value)) or _begins_with_mark(value):
        raise InvalidInput(f"an id holds visible characters only, {quote_value(value)} does not")
    if value in (".", "..") or "/" in value:
        raise InvalidInput(f"an id is neither . nor .. and holds no slash, {quote_value(value)} is or does")
    if not unicodedata.is_normalized("NFC", value):
        raise InvalidInput(f"an id is in Unicode's normal form C, {quote_value(value)} is not")
    return value


def is_stored_id(name: object) -> bool:
    """Whether a text may be a stored id. The rule of before 0.2 was wider; what it allowed may still be asked about."""
    return isinstance(name, str) and 1 <= len(name) <= LONGEST_ID and name.isprintable() and " " not in name


def parse_stored_id(value: object) -> str:
    """An id that may be stored already, under the wider rule of before. Raises `InvalidInput` for anything else."""
    return str(value) if is_stored_id(value) else parse_id(value)


def parse_text(value: object) -> str:
    """A display text such as a name, as it is stored: 1–500 characters, in normal form C, single blanks inside.

    It has a visible character, no control or invisible one, and no combining mark without a character before it.
    Joiners and variation selectors, which scripts and emoji need, follow a visible character. Raises `InvalidInput`.
    """
    return _parse(value, "a text", LONGEST_TEXT)


def parse_number(text: str) -> int:
    """The number of a row, such as a share's, in the digits 0 to 9. Raises `InvalidInput` for what can be none."""
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise InvalidInput(f"{quote_value(text)} is no number of at most {_MOST_DIGITS} digits")
    return int(text)


def parse_reference(value: object) -> str:
    """A clinic's own number of a patient, as it is stored: as a name, of 1–64 characters. Raises `InvalidInput`."""
    return _parse(value, "a reference", LONGEST_REFERENCE)


def _parse(value: object, noun: str, longest: int) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{noun} is a string, not {quote_value(value)}")
    if len(value) > longest:
        raise InvalidInput(f"{noun} has 1 to {longest} characters, this one has {len(value)}")
    text = _tidy(value)
    if not text:
        raise InvalidInput(f"{noun} has 1 to {longest} characters that can be seen, {quote_value(value)} has none")
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
            raise InvalidInput(f"{noun} holds no control characters and no invisible ones, {quote_value(value)} does")
        before = character
    return text


def _tidy(text: str) -> str:
    """Normal form C, with one space for each stretch of blanks and none at the ends; line ends stay, to be refused."""
    return re.sub(r"[^\S\n\r\v\f\x1c-\x1f\x85\u2028\u2029]+", " ", unicodedata.normalize("NFC", text)).strip(" ")


def _begins_with_mark(text: str) -> bool:
    return unicodedata.category(text[0]).startswith("M")


def normalise_stored(text: str) -> str:
    """A text of before the rule in the form in which it would be stored now; one that would be refused stays."""
    try:
        return parse_text(text)
    except InvalidInput:
        return text


def fold(text: str) -> str:
    """A text as it is searched and ordered: compatibility forms, cases and diacritics are one, blanks are one space.

    ``fold("İpek") == fold("IPEK") == "ipek"``; a letter that Unicode does not decompose (``ł``, ``ø``) stays itself.
    """
    if text.isascii():  # nothing to decompose, and most texts
        return " ".join(text.lower().split())
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    kept = (one for one in plain if not _is_folded_away(one))
    return " ".join("".join(kept).split())


def _is_folded_away(character: str) -> bool:
    """Whether a character only modifies the one before. Vowel signs (category Mc) are letters of their own; so are the
    non-spacing ones (Mn) of scripts whose canonical combining class is 0.
    """
    return unicodedata.combining(character) != 0 or character in _JOINERS or character in _SELECTORS


def search_key(name: str, *others: str) -> str:
    """The stored key of a row: its name folded, then what else it is found by. Ordered, it is by name first."""
    return _SEPARATOR.join(fold(text) for text in (name, *others))


def describe_patient(name: str, reference: str | None) -> str:
    """A patient as sentences and choices name them: the clinic's number beside the name, if they have one."""
    return f"{name} ({reference})" if reference else name


def matches_search(key: str, q: str) -> bool:
    """Whether every word of a search occurs in a search key."""
    return all(word in key for word in search_words(q)) and (bool(search_words(q)) or not q.strip())


def sort_key(key: str) -> str:
    """The beginning of a search key by which lists are ordered; what is longer is ordered by id from there."""
    return key[:LONGEST_SORT_KEY]


def search_words(q: str) -> list[str]:
    """The words of a search, folded; each has to occur in the key, in any order."""
    return list(dict.fromkeys(fold(q).split()))[:MOST_WORDS]
