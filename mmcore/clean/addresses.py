"""Postal addresses of people, told from the names of places that pictures show.

"10 Downing Street" and "221B Baker Street" are what an image shows; "12 Oak Street, Springfield, IL
62704" is where someone lives. So a street and a number alone are no address: a postal code, a flat
or a word such as *address* or *wohnt* has to make one of them. English (US, UK, Canada, Australia),
German, French, Spanish, Italian, Portuguese and Dutch forms.
"""

from __future__ import annotations

import re

# Cheap, for a whole column (RE2): a word of a street or a postal code; asked of texts with digits.
SUSPECT = (
    r"(?i:\b(?:street|st|avenue|ave?|road|rd|boulevard|blvd|lane|ln|drive|dr|court|ct|place|pl"
    r"|square|sq|terrace|way|close|crescent|parkway|pkwy|highway|hwy|circle|cir|apt|suite|unit"
    r"|p\.? ?o\.? box|rue|bd|chemin|all[ée]e|impasse|quai|cours|route|calle|c|avenida|avda|av|plaza"
    r"|paseo|carretera|camino|ronda|pasaje|vial|glorieta|cuesta|callejón|acceso|alameda|rambla"
    r"|pasadizo|cañada|via|viale|piazza|corso|largo|vicolo|strada|stretto|contrada|borgo|rotonda|canale|incrocio|rua|rúa"
    r"|travessa|praça|am|an der|im|zum|zur)\b|str\.|(?:stra(?:ß|ss)e|weg|gasse|platz|allee|ring"
    r"|damm|ufer|straat|laan|plein|gracht|kade|dijk|singel|hof|pad|baan|dreef)\b)"
    r"|\b[A-Z]{2,3},? \d{4,5}\b|\b\d{4} ?[A-Z]{2}\b|\b[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}\b"
    r"|\b[A-Z]\d[A-Z] ?\d[A-Z]\d\b"
)

# A word that starts with a capital: any letter but the small ones of Western Europe. Neither it nor
# what parts words may match the other, nor is it long: hostile texts cost no more than others.
_NAME = r"[^\W\d_a-zß-öø-ÿ][\w'’]{0,30}"
_LINK = (
    r"(?:St\.|Ste\.|am|an der|im|in|ob|bei|upon|on|de|du|des|la|le|les|lès|sur|sous|el|los|las|del"
    r"|den|der|aan|di|da|do|dos|dei|della|delle|nell[ao]|sul)"
)
_NUMBER = r"\d{1,5}(?:\s?[a-zA-Z](?!\w))?(?:\s?[-/]\s?\d{1,4}[a-zA-Z]?)?"
_TOWN = rf"(?:{_LINK} )?{_NAME}(?:[ -](?:{_LINK}[ -])?{_NAME}){{0,4}}"
_STATE = r"(?:[A-Z]{2}|[A-Z][a-z]+(?: [A-Z][a-z]+)?)"
_CODE = (
    rf"[A-Z]{{1,2}}\d[A-Z\d]? ?\d[A-Z]{{2}}|{_STATE},? \d{{5}}(?:-\d{{4}})?"  # UK, US
    r"|(?:[A-Z]{2},? )?[A-Z]\d[A-Z] ?\d[A-Z]\d"  # Canada
    r"|(?:NSW|VIC|QLD|WA|SA|TAS|ACT|NT),? \d{4}"  # Australia
)
_UNIT = r"(?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Fl|Room|Rm|Studio|#)\.? ?#?\w+"
_STREETS = (
    "Street|St|Avenue|Ave?|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq"
    "|Terrace|Ter|Way|Close|Crescent|Cres|Parkway|Pkwy|Highway|Hwy|Circle|Cir|Trail|Trl|Loop"
    "|Row|Walk|Hill|Gardens|Grove|Mews|Park|Rise|View|Green|Mount|Bridge|Plaza|Ridge"
)
_HOUSE = rf"(?:(?:{_UNIT}|Level \d+)[, /]+)?\d{{1,6}}[A-Za-z]?(?:[-/]\d+)?(?: [NSEW]\.?)?"
_PARTS_OF_TOWN = rf",? ?(?:{_TOWN},? ){{0,3}}"
_ENGLISH = (
    rf"{_HOUSE} (?:{_NAME} ){{1,4}}?(?:{_STREETS})\b\.?(?: [NSEW]\b\.?)?(?P<unit>,? {_UNIT})?"
    rf"(?P<code>{_PARTS_OF_TOWN}(?:{_CODE})\b)?"
)
# With a postal code behind it, no word needs to say that it is a street.
_ENGLISH_CODED = (
    rf"(?:{_HOUSE}|{_UNIT},)(?: {_NAME}){{1,4}}(?:,? {_UNIT})?"
    rf"(?P<code>,{_PARTS_OF_TOWN[2:]}(?:{_CODE})\b)"
)
_GERMAN = (
    rf"(?:(?:{_NAME}[ -]){{0,5}}{_NAME}"
    rf"(?:stra(?:ß|ss)e|str\.|weg|gasse|platz|allee|ring|damm|ufer|hof)"
    rf"|(?:{_NAME}-){{0,5}}(?:Straße|Strasse|Str\.|Platz|Weg|Allee|Ring|Gasse)"
    rf"|(?:Am|An der|Im|Zum|Zur) {_NAME}) {_NUMBER}"
    rf"(?P<code>,? (?:(?:D|A|CH|DE|AT)-)?\d{{4,5}} {_TOWN})?"
)
_DUTCH = (
    rf"{_NAME}(?:[ -]{_NAME}){{0,2}}"
    rf"(?:straat|weg|laan|plein|gracht|kade|dijk|singel|hof|pad|baan|ring|dreef) {_NUMBER}"
    rf"(?P<code>,? (?:\d{{4}} ?[A-Z]{{2}}|\d{{4}}),? {_TOWN})?"
)
_DUTCH_CODED = (
    rf"{_NAME}(?:[ -](?:{_LINK} )?{_NAME}){{0,3}} {_NUMBER}"
    rf"(?P<code>,? \d{{4}} ?[A-Z]{{2}},? {_TOWN})"
)
_FRENCH = (
    rf"(?:\d{{1,4}}(?: ?(?:bis|ter))?,? )?(?:[Rr]ue|[Aa]venue|[Bb]oulevard|[Pp]lace|[Cc]hemin"
    rf"|[Aa]llée|[Ii]mpasse|[Qq]uai|[Cc]ours|[Rr]oute|[Bb]d|[Aa]v\.)(?: [\w'’.-]+){{1,6}}?"
    rf"(?P<code>,? \d{{5}} {_TOWN})"
)
_SPANISH = (
    rf"(?:Calle|C/|C\.|Avenida|Avda\.?|Av\.|Plaza|Paseo|Carretera|Camino|Ronda|Pasaje|Rua|Rúa|Vial"
    rf"|Cañada|Cuesta|Glorieta|Callejón|Acceso|Alameda|Rambla|Pasadizo|Travessa|Praça|Largo|Urbanización|Via)"
    rf"(?: (?:de|del|la|las|los|da|do|dos|das|{_NAME})){{1,6}},? (?:[Nn][ºo°]?\.? ?)?{_NUMBER}"
    rf"(?: ?,? ?(?:Piso|Puerta|Apt\.?|Esc\.?|[Ee]sq\.?) ?[^,]{{0,12}})?"
    rf"(?P<code>(?: ?,| -)? (?:{_TOWN},? )?\d{{4,5}}(?:-\d{{3}})?(?:,? {_TOWN})?)"
)
_ITALIAN = (
    rf"(?:Via|Viale|Piazza|Piazzetta|Corso|Largo|Vicolo|Strada|Canale|Contrada|Borgo|Rotonda"
    rf"|Stretto|Incrocio)(?: {_NAME}){{1,4}},? {_NUMBER}"
    rf"(?:,? (?:Piano|Appartamento|Int\.) ?\w+)?"
    rf"(?P<code>,? (?:{_TOWN},? )?\d{{5}}(?:,? {_TOWN})?(?: ?\([A-Z]{{2}}\))?)?"
)
_BOX = r"P\.? ?O\.? Box \d{1,6}(?P<code>)"

_FORMS = (
    *(_ENGLISH_CODED, _ENGLISH, _DUTCH_CODED, _GERMAN, _DUTCH),
    *(_FRENCH, _SPANISH, _ITALIAN, _BOX),
)
PATTERNS = tuple(re.compile(rf"(?<![\w.,/-]){form}(?!\w)") for form in _FORMS)
_ADDRESS_WORD = re.compile(
    r"(?i)\b(?:address|adress|adresse|anschrift|dirección|direccion|indirizzo|adres|morada|endereço"
    r"|lives? at|living at|residing at|resides at|wohnt(?: in der| in)?|wohnhaft|c/o|mail to"
    r"|ship to|deliver(?:ed)? to|send to|visit us at|find us at|habite|domicilié|vive en"
    r"|abita in|woont)"
    r"\b(?: is| ist| est| es| è)?[\s:,.-]*(?:au |at |in der |in |en |op )?$"
)


def accepted(match: re.Match[str]) -> int:
    """Characters of a match that are someone's address: all of them, or 0."""
    groups = match.groupdict()
    if any(groups.get(name) is not None for name in ("code", "unit")):
        return len(match[0])
    before = match.string[max(0, match.start() - 40) : match.start()]
    return len(match[0]) if _ADDRESS_WORD.search(before) else 0
