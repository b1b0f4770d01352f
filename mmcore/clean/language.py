"""Which language a text is in, or None: a wrong language is worse than none.

Evidence, strongest first: a script that one language uses, the classifier (py3langid) on a text
long enough for it, and the `lang` attribute of the page. Short texts get a language only where
script or page say so and the classifier does not object.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

# The languages most of the web is written in. Telling apart fewer makes short captions surer.
_WIDESPREAD = (
    "ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "he", "hi",
    "hr", "hu", "id", "it", "ja", "ko", "lt", "lv", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sl",
    "sr", "sv", "ta", "th", "tr", "uk", "ur", "vi", "zh",
)  # fmt: skip

_SCRIPTS = (
    "Latin", "Han", "Hiragana", "Katakana", "Hangul", "Cyrillic", "Arabic", "Hebrew", "Greek",
    "Thai", "Devanagari", "Bengali", "Tamil", "Telugu", "Gujarati", "Kannada", "Malayalam",
    "Gurmukhi", "Sinhala", "Georgian", "Armenian", "Khmer", "Lao", "Myanmar", "Ethiopic",
)  # fmt: skip
# A script that, on its own, names a language.
_SPEAKS_FOR = {
    "Hiragana": "ja", "Katakana": "ja", "Han": "zh", "Hangul": "ko", "Hebrew": "he", "Greek": "el",
    "Thai": "th", "Tamil": "ta", "Telugu": "te", "Gujarati": "gu", "Kannada": "kn",
    "Malayalam": "ml", "Gurmukhi": "pa", "Sinhala": "si", "Georgian": "ka", "Armenian": "hy",
    "Khmer": "km", "Lao": "lo", "Myanmar": "my", "Ethiopic": "am",
}  # fmt: skip
# Languages whose script is not Latin; every other language is taken to write Latin.
_WRITES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("ru", "uk", "bg", "be", "mk", "kk", "ky", "mn", "tg"), ("Cyrillic",)),
    "sr": ("Cyrillic", "Latin"),
    **dict.fromkeys(("ar", "fa", "ur", "ps", "ug"), ("Arabic",)),
    **dict.fromkeys(("hi", "mr", "ne"), ("Devanagari",)),
    "bn": ("Bengali",),
    "as": ("Bengali",),
    "yi": ("Hebrew",),
    "ja": ("Hiragana", "Katakana", "Han"),
    "ko": ("Hangul", "Han"),
    **{lang: (script,) for script, lang in _SPEAKS_FOR.items() if lang not in ("ja", "ko")},
}
_SCRIPT_CONFIDENCE = 0.95
_PAGE_CONFIDENCE = 0.6  # of a page's word where the classifier knows nothing
_PAGE_WEIGHT = 10.0  # how much likelier a page's declared language is than any other


class LanguageRules(BaseModel):
    """When a language is named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    languages: tuple[str, ...] | None = Field(
        default=_WIDESPREAD,
        min_length=1,
        description="Languages told apart (ISO 639-1); null: all that the classifier knows.",
    )
    min_language_letters: int = Field(
        default=20,
        ge=1,
        description="A text with fewer letters gets a language from its script or page only.",
    )
    min_language_confidence: float = Field(
        default=0.6, ge=0, le=1, description="Below this confidence the language stays unknown."
    )


def identify(texts: pa.Array, page_langs: pa.Array, rules: LanguageRules) -> pa.Table:
    """`lang` (string) and `lang_confidence` (float32), both null where unknown.

    `page_langs` holds the page's declared language per text, or null. Pass distinct pairs: the
    classifier is called once a row.
    """
    letters = pc.count_substring_regex(texts, r"\pL").to_pylist()
    scripts = _scripts(texts)
    rows = zip(texts.to_pylist(), page_langs.to_pylist(), letters, scripts.to_pylist(), strict=True)
    found = [_identify(*row, rules) for row in rows]
    return pa.table(
        {
            "lang": pa.array([f and f[0] for f in found], pa.string()),
            "lang_confidence": pa.array([f and f[1] for f in found], pa.float32()),
        }
    )


def known_languages() -> frozenset[str]:
    """Every language code the classifier can be restricted to."""
    return frozenset(_classifier(None).labels)


def _scripts(texts: pa.Array) -> pa.Array:
    """The commonest script of each text; any kana outweighs Han, as Japanese mixes both."""
    counts = [
        pc.count_substring_regex(texts, rf"\p{{{script}}}").to_numpy(zero_copy_only=False)
        for script in _SCRIPTS
    ]
    han, kana = _SCRIPTS.index("Han"), _SCRIPTS.index("Hiragana")
    japanese = (counts[kana] > 0) | (counts[kana + 1] > 0)
    counts[kana] = counts[kana] + counts[han] * japanese
    counts[han] = counts[han] * ~japanese
    best = np.argmax(np.stack(counts), axis=0)
    return pa.array(_SCRIPTS).take(pa.array(best))


def _identify(
    text: str, page: str | None, letters: int, script: str, rules: LanguageRules
) -> tuple[str, float] | None:
    """Language and confidence of one text, or None."""
    if letters == 0:
        return None
    fits = page is not None and script in _WRITES.get(page, ("Latin",))
    if script in _SPEAKS_FOR:
        return (page if fits and page else _SPEAKS_FOR[script]), _SCRIPT_CONFIDENCE
    chances = dict(_classifier(rules.languages).rank(text))
    if page is not None and fits and page in chances:
        chances[page] *= _PAGE_WEIGHT
    elif page is not None and fits and letters < rules.min_language_letters:
        return (page, _PAGE_CONFIDENCE) if _floor(rules) <= _PAGE_CONFIDENCE else None
    best = max(chances, key=lambda lang: (chances[lang], lang))
    confidence = chances[best] / sum(chances.values())
    if letters < rules.min_language_letters:
        if best != page:
            return None
        confidence = max(confidence, _PAGE_CONFIDENCE)
    return (best, confidence) if confidence >= _floor(rules) else None


def _floor(rules: LanguageRules) -> float:
    return rules.min_language_confidence


@lru_cache(maxsize=4)
def _classifier(languages: Sequence[str] | None) -> Any:
    """The classifier with probabilities, restricted to some languages."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    classifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    if languages is not None:
        classifier.set_languages(languages)
    return classifier
