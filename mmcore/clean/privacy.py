"""Personal data in texts replaced by typed placeholders, so that no model learns it.

Precision counts as much as recall: years, sizes, ISBNs, versions, dates and prices are what image
captions are full of. A column is searched with RE2 patterns; only what they find is looked at one
by one, with checksums (IBAN: ISO 13616 mod 97; cards: Luhn; national numbers: `identity`) and with
the words before a number. benchmarks/data/personal_data.py measures precision and recall.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from mmcore.clean import addresses, identity

# Anything that could hold personal data; cheap, and too generous on purpose.
_SUSPECT = (
    r"(?i)@|[(\[{]\s?(?:at|ät)\s?[)\]}]|\d[\d ().\-/–\x{a0}]{4,}\d|[0-9a-f]{0,4}:[0-9a-f]{0,4}:"
    r"|\b[a-z]{2}\d{2}[ \-]?[0-9a-z]{4}|\b[a-z]{6}\d{2}[a-z]\d{2}[a-z]"
)

_EMAIL = re.compile(
    r"(?<![\w.+-])[\w](?:[\w.+'-]{0,62}[\w+])?@"
    r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+([^\W\d_]{2,24})(?![\w@])"
)
_SPELLED_EMAIL = re.compile(
    r"(?<![\w.+-])\w[\w.+-]{0,62}\s?[(\[{]\s?(?:at|ät|@)\s?[)\]}]\s?"
    r"[^\W_][\w-]{0,61}(?:\s?(?:[(\[{]\s?(?:dot|punkt|\.)\s?[)\]}]|\.)\s?[^\W_][\w-]{0,61}){1,4}",
    re.IGNORECASE,
)
_FILE_ENDINGS = frozenset(
    {"png", "jpg", "jpeg", "gif", "webp", "svg", "avif", "bmp", "tif", "tiff", "css", "js", "html"}
)

_IBAN = re.compile(r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,34}")
_IBAN_LENGTH = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22,
    "BI": 27, "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27,
    "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22,
    "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23,
    "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21,
    "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20,
    "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28,
    "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18,
    "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24,
    "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip

_CARD = re.compile(r"(?<![\w.,+-])\d{4}(?:([ -]?)\d){9,15}(?![\w])")
# Issuer prefixes with their lengths: Visa, Mastercard, American Express, Discover, Diners, JCB.
_ISSUER = re.compile(
    r"4(?:\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"
    r"|3[47]\d{13}|6(?:011|4[4-9]\d|5\d\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}"
)

_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?![\w:])")
_VERSION_WORD = re.compile(
    r"(?:\bv|\b(?:version|ver|release|rel|build|firmware|driver|update|patch|revision|rev|section"
    r"|chapter|kapitel|abschnitt|clause|fig|figure|table|python|chrome|firefox|windows|java|php"
    r"|node|ubuntu|ios|android))\b\.?:?\s*$|\bv$|§\s*$",
    re.IGNORECASE,
)

_TITLE_START, _TITLE = re.compile(r"(?:^|[>:|–—] ?)$"), re.compile(r"\.? +[^\W\d_]")

_NUMBER = re.compile(
    r"(?<![\w.,:/@#&=+-])(?P<number>(?:\+\s?|\(\+?)?\d(?:[ ().\-/–]{0,3}\d){5,16})"
    r"(?:,?\s?(?:x|ext\.?|Ext\.?|extension)\s?\d{1,6})?(?![\w@])"
)
_DATE = re.compile(
    r"(?:(?:19|20)\d\d[-./ ](?:0?[1-9]|1[0-2])[-./ ](?:0?[1-9]|[12]\d|3[01])"
    r"|(?:0?[1-9]|[12]\d|3[01])[-./ ]{1,2}(?:0?[1-9]|1[0-2])[-./ ]{1,2}(?:(?:19|20)\d\d|\d\d))"
    r"(?!\d)"
)
_CALL_WORD = re.compile(
    r"(?:\b(?:tel|telephone|phone|fon|telefon|telefoon|teléfono|telefono|téléphone|tél|mobile"
    r"|mobil|móvil|handy|cell|cellphone|fax|call|calls|ring|dial|whatsapp|signal|sms|hotline"
    r"|rufnummer|ruf|anruf|anrufen|durchwahl|phone number|telefonnummer)\b|☎|📞|✆)"
    r"[\s.:()\-–]*(?:(?:us|me|now|on|at|no|nr|number|today|unter|an)\b[\s.:]*){0,3}$",
    re.IGNORECASE,
)
_OTHER_NUMBER_WORD = re.compile(
    # An abbreviation may end in a dot; behind a whole word a dot ends the sentence.
    r"(?:\b(?:art|nr|no|num|inv|cat|ref|pos|id|acc|ser)\b[\s.:#/-]*"
    r"|\b(?:isbn|issn|ean|upc|asin|doi|sku|gtin|pmid|artikel|article|item|model|modell|part|order"
    r"|bestell\w*|invoice|inventory|catalog|catalogue|accession|serial|patent|lot|position"
    r"|coordinates|lat|lon|scale)\b[\s:#/-]*(?:1[03]\b)?[\s:#-]*|[#€$£¥]\s?)$",
    re.IGNORECASE,
)
_UNIT = re.compile(
    r"\s?(?:px|pixels?|mm|cm|km|kg|mg|ml|m²|°|%|€|\$|£|usd|eur|dpi|fps|hz|mhz|ghz|bytes|kb|mb|x\s?\d|×)",
    re.IGNORECASE,
)
_NORTH_AMERICAN = re.compile(r"(?:1[ .-]?)?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])\d{3}[ .-]\d{4}")
_FICTIONAL = re.compile(r"555[ -]\d{4}")


def mask(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Texts with `<EMAIL>`, `<IBAN>`, `<CARD>`, `<ID>` (of a nation), `<IP>`, `<ADDRESS>` and
    `<PHONE>` in place of personal data, and how many replacements each had (int32)."""
    counts = pa.array([0], pa.int32()).take(pa.array([0] * len(texts), pa.int32()))
    suspect = pc.or_(
        pc.match_substring_regex(texts, _SUSPECT),
        pc.and_(
            pc.match_substring_regex(texts, r"\d"),
            pc.match_substring_regex(texts, addresses.SUSPECT),
        ),
    )
    suspect = pc.fill_null(suspect, False)
    if not pc.any(suspect).as_py():
        return texts, counts
    masked = [mask_text(text) for text in texts.filter(suspect).to_pylist()]
    return (
        pc.replace_with_mask(texts, suspect, pa.array([t for t, _ in masked], texts.type)),
        pc.replace_with_mask(counts, suspect, pa.array([n for _, n in masked], pa.int32())),
    )


def mask_text(text: str) -> tuple[str, int]:
    """One text masked, and the number of replacements."""
    total = 0
    for placeholder, pattern, accepts in _KINDS:
        text, count = _replace(text, placeholder, pattern, accepts)
        total += count
    return text, total


def _replace(
    text: str, placeholder: str, pattern: re.Pattern[str], accepts: Callable[[re.Match[str]], int]
) -> tuple[str, int]:
    """Replace the first `accepts(match)` characters of every match; 0 leaves it alone."""
    out, end, count = [], 0, 0
    for match in pattern.finditer(text):
        taken = accepts(match)
        if taken:
            out += [text[end : match.start()], placeholder]
            end, count = match.start() + taken, count + 1
    return ("".join([*out, text[end:]]), count) if count else (text, 0)


def _is_email(match: re.Match[str]) -> int:
    ending = match[1].lower()
    return 0 if ending in _FILE_ENDINGS else len(match[0])


def _always(match: re.Match[str]) -> int:
    return len(match[0])


def _is_iban(match: re.Match[str]) -> int:
    """Length of the IBAN that the match starts with: what follows in capitals is not part of it."""
    wanted = _IBAN_LENGTH.get(match[0][:2])
    if wanted is None:
        return 0
    places = [i for i, c in enumerate(match[0]) if c.isalnum()]
    if len(places) < wanted:
        return 0
    length = places[wanted - 1] + 1
    if match[0][length : length + 1].isalnum():
        return 0
    code = re.sub(r"[ -]", "", match[0][:length])
    digits = "".join(str(int(c, 36)) for c in code[4:] + code[:4])
    return length if int(digits) % 97 == 1 else 0


def _is_card(match: re.Match[str]) -> int:
    digits = re.sub(r"\D", "", match[0])
    mixed = " " in match[0] and "-" in match[0]
    if mixed or _OTHER_NUMBER_WORD.search(_before(match)):
        return 0
    return len(match[0]) if _ISSUER.fullmatch(digits) and _luhn(digits) else 0


def _luhn(digits: str) -> bool:
    doubled = [sum(divmod(int(d) * 2, 10)) for d in digits[-2::-2]]
    return (sum(doubled) + sum(int(d) for d in digits[-1::-2])) % 10 == 0


def _is_ipv4(match: re.Match[str]) -> int:
    octets = [int(part) for part in match[0].split(".")]
    if max(octets) > 255 or octets[0] == 0 or any(p[0] == "0" != p for p in match[0].split(".")):
        return 0
    # 1.2.3.4 counts sections more often than it names a machine.
    if max(octets) < 10 or _VERSION_WORD.search(_before(match)):
        return 0
    # So does "3.3.2.15. Metrics" at the start of a title.
    behind = match.string[match.end() : match.end() + 4]
    if max(octets) < 64 and _TITLE_START.search(_before(match)) and _TITLE.match(behind):
        return 0
    return len(match[0])


def _is_ipv6(match: re.Match[str]) -> int:
    if sum(c.isalnum() for c in match[0]) < 4:
        return 0
    try:
        ipaddress.IPv6Address(match[0])
    except ValueError:
        return 0
    return len(match[0])


def _is_phone(match: re.Match[str]) -> int:
    number, before, length = match["number"], _before(match), len(match[0])
    digits = re.sub(r"\D", "", number)
    if _DATE.fullmatch(number) or _UNIT.match(match.string, match.end()):
        return 0
    if _CALL_WORD.search(before):
        return length if 6 <= len(digits) <= 15 else 0
    if _DATE.match(number):
        return 0
    if not number.startswith(("+", "(+")) and _OTHER_NUMBER_WORD.search(before):
        return 0
    return length if _looks_dialled(number, digits, re.findall(r"\d+", number)) else 0


def _looks_dialled(number: str, digits: str, groups: list[str]) -> bool:
    """Whether a number without a telling word before it is written as only phone numbers are."""
    if number.startswith(("+", "(+")):
        return 8 <= len(digits) <= 15 and digits[0] != "0"
    if digits.startswith("00"):
        return 11 <= len(digits) <= 17 and digits[2] != "0" and len(groups) > 1
    if _NORTH_AMERICAN.fullmatch(number) or _FICTIONAL.fullmatch(number):
        return True
    if not number.startswith(("0", "(0")) or digits[1] == "0":
        return False
    if len(groups) == 1:
        return 10 <= len(digits) <= 11 and "(" not in number
    if max(len(group) for group in groups) <= 2:
        return len(groups) == 5  # 01 23 45 67 89; fewer pairs are times and dates
    return 9 <= len(digits) <= 13 and 2 <= len(groups[0]) <= 6


def _before(match: re.Match[str]) -> str:
    return match.string[max(0, match.start() - 40) : match.start()]


_KINDS: tuple[tuple[str, re.Pattern[str], Callable[[re.Match[str]], int]], ...] = (
    ("<EMAIL>", _EMAIL, _is_email),
    ("<EMAIL>", _SPELLED_EMAIL, _always),
    ("<IBAN>", _IBAN, _is_iban),
    ("<CARD>", _CARD, _is_card),
    *(("<ID>", i.pattern, partial(identity.accepted, i)) for i in identity.IDENTITIES),
    ("<IP>", _IPV4, _is_ipv4),
    ("<IP>", _IPV6, _is_ipv6),
    *(("<ADDRESS>", pattern, addresses.accepted) for pattern in addresses.PATTERNS),
    ("<PHONE>", _NUMBER, _is_phone),
)
