"""What texts say that an augmentation could make untrue: sides ("on the left") and colours.

Word lists for the larger European languages and Chinese, Japanese, Russian and Arabic; a list may
hold a word too many ("right" as in "right now"): that costs a mirrored picture, nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# endings by their own alphabet: the pattern is compiled for every batch of a streamed set, and each
# "any letter" (\pL) in it takes half a millisecond
_DE, _RU = "[a-zäöüß]", "[а-яёіїєґў]"
_SIDES = (
    r"left|right|leftmost|rightmost|clockwise|anticlockwise|counterclockwise|mirrored|west|western|"
    r"east|eastern|links|rechts|linke[rnms]?|rechte[rnms]?|linksherum|rechtsherum|gauche|droite?|"
    r"izquierd[ao]s?|derech[ao]s?|sinistr[aoe]|destr[aoe]|esquerd[ao]s?|direit[ao]s?|vänster|höger|"
    r"venstre|høyre|højre|lew(?:o|ej|y|ym|a)|praw(?:o|ej|y|ym|a)|"
    rf"(?:лев|прав){_RU}+|слева|справа|"
    r"يسار|يمين|اليسار|اليمين"
)
_COLOURS = (
    r"red|green|blue|yellow|orange|purple|violet|pink|brown|black|white|gr[ae]y|turquoise|cyan|"
    r"magenta|beige|golden?|silver|maroon|navy|teal|olive|tan|colou?r(?:ed|ful|s)?|reddish|"
    r"greenish|bluish|yellowish|blonde?|"
    rf"(?:rot|grün|blau|gelb|braun|schwarz|weiß|grau|türkis|bunt){_DE}{{0,2}}|lila|rosa|farb{_DE}+|"
    r"rouges?|verte?s?|bleue?s?|jaunes?|roses?|marrons?|noire?s?|blanc(?:he)?s?|grise?s?|"
    r"roj[ao]s?|verdes?|azul(?:es)?|amarill[ao]s?|morad[ao]s?|marrón|negr[ao]s?|blanc[ao]s?|"
    r"ross[aoie]|verd[ei]|blu|giall[aoie]|viola|ner[aoie]|bianc(?:o|a|hi|he)|grigi[aoe]?|"
    r"vermelh[ao]s?|amarel[ao]s?|pret[ao]s?|branc[ao]s?|cinza|"
    r"rood|rode|groene?|blauwe?|geel|gele|paars|paarse|bruine?|zwarte?|wit|witte|grijs|grijze|"
    rf"(?:красн|зел[её]н|син|ж[её]лт|ч[её]рн|бел|сер){_RU}+"
)
_UNSPACED_SIDES, _UNSPACED_COLOURS = "左右", "红紅绿綠緑蓝藍青黄黃黑白灰紫橙粉赤"


def _pattern(words: str, signs: str) -> str:
    return rf"(?i)(?:^|[^\pL])(?:{words})(?:[^\pL]|$)|[{signs}]"


_SIDE_PATTERN = _pattern(_SIDES, _UNSPACED_SIDES)
_COLOUR_PATTERN = _pattern(_COLOURS, _UNSPACED_COLOURS)


def says_sides(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Which texts tell left from right: bool [len(texts)]. A mirrored picture would belie them."""
    return _matches(texts, _SIDE_PATTERN)


def says_colours(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Which texts name a colour: bool [len(texts)]. A tinted picture would belie them."""
    return _matches(texts, _COLOUR_PATTERN)


def _matches(texts: Sequence[str], pattern: str) -> NDArray[np.bool_]:
    found = pc.match_substring_regex(pa.array(texts, pa.string()), pattern)
    return np.asarray(found.to_numpy(zero_copy_only=False), bool)
