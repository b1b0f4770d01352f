"""Postal addresses of people, told from the names of places that pictures show.

"10 Downing Street" and "221B Baker Street" are what an image shows; "12 Oak Street, Springfield, IL
62704" is where someone lives. So a street and a number alone are no address: a postal code, a flat
or a word such as *address* or *wohnt* has to make one of them. English (US, UK, Canada, Australia),
German, French, Spanish, Italian, Portuguese and Dutch forms.
"""

from __future__ import annotations

import re

# Cheap, for a whole column (RE2): a word of a street; what has no digit is not asked.
SUSPECT = (
    r"(?i)\b(?:street|st|avenue|ave?|road|rd|boulevard|blvd|lane|ln|drive|dr|court|ct|place|pl"
    r"|square|sq|terrace|way|close|crescent|parkway|pkwy|highway|hwy|circle|cir|trail|loop|p\.? ?o\.? box"
    r"|rue|bd|chemin|all[ée]e|impasse|quai|cours|route|calle|c/|avenida|avda|plaza|paseo|carretera"
    r"|camino|via|viale|piazza|corso|largo|vicolo|strada|rua|travessa|pra[çc]a|am|an der|im|zum|zur)\b"
    r"|(?:stra(?:ß|ss)e|str\.|weg|gasse|platz|allee|ring|damm|ufer|stra(?:at|ße)|laan|plein|gracht"
    r"|kade|dijk|singel|hof|pad)\b"
)

_NAME = r"[^\W\d_][\w'’.-]*"
_NUMBER = r"\d{1,5}(?:\s?[a-zA-Z](?![\w]))?(?:\s?[-/]\s?\d{1,4}[a-zA-Z]?)?"
_TOWN = rf"{_NAME}(?:[ -]{_NAME}){{0,3}}"
_US_CODE = r"(?:[A-Z]{2}|[A-Z][a-z]+(?: [A-Z][a-z]+)?),? \d{5}(?:-\d{4})?"
_UK_CODE = r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}"
_CANADIAN_CODE = r"(?:[A-Z]{2},? )?[A-Z]\d[A-Z] ?\d[A-Z]\d"
_AUSTRALIAN_CODE = r"(?:NSW|VIC|QLD|WA|SA|TAS|ACT|NT),? \d{4}"
_CODE = rf"{_UK_CODE}|{_US_CODE}|{_CANADIAN_CODE}|{_AUSTRALIAN_CODE}"
_UNIT = r"(?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Fl|Room|Rm|#)\.? ?#?\w+"
_STREETS = (
    "Street|St|Avenue|Ave?|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq"
    "|Terrace|Ter|Way|Close|Crescent|Cres|Parkway|Pkwy|Highway|Hwy|Circle|Cir|Trail|Trl|Loop"
    "|Row|Walk|Hill|Gardens|Grove|Mews|Park|Rise|View|Green|Mount|Bridge|Key|Keys|Plaza|Ridge"
)
_ENGLISH = (
    rf"(?P<unit1>{_UNIT}[, ]+)?\d{{1,6}}[A-Za-z]?(?:-\d+)? (?:[NSEW]\.? )?(?:{_NAME} ){{1,4}}?"
    rf"(?:{_STREETS})\b\.?(?: [NSEW]\b\.?)?(?P<unit2>,? {_UNIT})?"
    rf"(?P<code>,? (?:{_TOWN},? ){{0,2}}(?:{_CODE})\b)?"
)
_GERMAN = (
    rf"(?:(?:{_NAME}[ -]){{0,3}}{_NAME}"
    rf"(?:stra(?:ß|ss)e|str\.|weg|gasse|platz|allee|ring|damm|ufer|hof)"
    rf"|(?:{_NAME}-)?(?:Straße|Strasse|Str\.|Platz|Weg|Allee|Ring|Gasse)"
    rf"|(?:Am|An der|Im|Zum|Zur) {_NAME}) {_NUMBER}"
    rf"(?P<code>,? (?:(?:D|A|CH|DE|AT)-)?\d{{4,5}} {_TOWN})?"
)
_DUTCH = (
    rf"{_NAME}(?:[ -]{_NAME}){{0,2}}"
    rf"(?:straat|weg|laan|plein|gracht|kade|dijk|singel|hof|pad|baan|ring) {_NUMBER}(?P<code>,? (?:\d{{4}} ?[A-Z]{{2}}|\d{{4}}),? {_TOWN})?"
)
_FRENCH = (
    rf"\d{{1,4}}(?: ?(?:bis|ter))?,? (?:[Rr]ue|[Aa]venue|[Bb]oulevard|[Pp]lace|[Cc]hemin|[Aa]llée"
    rf"|[Ii]mpasse|[Qq]uai|[Cc]ours|[Rr]oute|[Bb]d|[Aa]v\.)(?: [\w'’.-]+){{1,6}}?"
    rf"(?P<code>,? \d{{5}} {_TOWN})"
)
_SPANISH = (
    rf"(?:Calle|C/|Avenida|Avda\.?|Av\.|Plaza|Paseo|Carretera|Camino|Ronda|Pasaje|Rua|Rúa|Vial"
    rf"|Cañada|Cuesta|Glorieta|Callejón|Acceso|Alameda|Travessa|Praça|Largo)"
    rf"(?: (?:de|del|la|las|los|da|do|dos|das|{_NAME})){{1,6}},? (?:[Nn][ºo°]?\.? ?)?{_NUMBER}"
    rf"(?:,? (?:Piso|Puerta|Apt\.?|Esc\.?|[Ee]sq\.?)[^,]{{0,12}})?"
    rf"(?P<code>(?:,| -)? (?:{_TOWN},? )?\d{{4,5}}(?:-\d{{3}})?(?:,? {_TOWN})?)"
)
_ITALIAN = (
    rf"(?:Via|Viale|Piazza|Piazzetta|Corso|Largo|Vicolo|Strada|Canale|Contrada|Borgo|Rotonda"
    rf"|Stretto|Incrocio)(?: {_NAME}){{1,4}},? {_NUMBER}(?:,? (?:Piano|Appartamento|Int\.) ?\w+)?"
    rf"(?P<code>,? (?:{_TOWN},? )?\d{{5}}(?:,? {_TOWN})?(?: ?\([A-Z]{{2}}\))?)?"
)
_BOX = r"P\.? ?O\.? Box \d{1,6}(?P<code>)"

PATTERNS = tuple(
    re.compile(rf"(?<![\w.,/-]){pattern}(?!\w)")
    for pattern in (_ENGLISH, _GERMAN, _DUTCH, _FRENCH, _SPANISH, _ITALIAN, _BOX)
)
_ADDRESS_WORD = re.compile(
    r"(?i)\b(?:address|adress|adresse|anschrift|dirección|direccion|indirizzo|adres|morada|endereço"
    r"|lives? at|living at|residing at|resides at|wohnt(?: in der| in)?|wohnhaft|c/o|mail to|ship to"
    r"|deliver(?:ed)? to|send to|visit us at|find us at|habite|domicilié|vive en|abita in|woont)"
    r"\b(?: is| ist| est| es| è)?[\s:,.-]*(?:au |at |in der |in |en |op )?$"
)


def accepted(match: re.Match[str]) -> int:
    """Characters of a match that are someone's address: all of them, or 0."""
    groups = match.groupdict()
    if any(groups.get(name) is not None for name in ("code", "unit1", "unit2")):
        return len(match[0])
    before = match.string[max(0, match.start() - 40) : match.start()]
    return len(match[0]) if _ADDRESS_WORD.search(before) else 0
