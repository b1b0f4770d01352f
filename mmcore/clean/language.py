"""Which language a text is in, or None: a wrong language is worse than none.

Evidence, strongest first: a script that one language uses, the classifier (py3langid) on a text
long enough for it, and the `lang` attribute of the page. Short texts get a language only where
script or page say so and the classifier does not object.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from mmcore.clean import classifier
from mmcore.clean.classifier import known_languages

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
_SOLE = np.array([_SPEAKS_FOR.get(name) for name in _SCRIPTS], object)
_IS_SOLE = np.array([name in _SPEAKS_FOR for name in _SCRIPTS])
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


class LanguageChoice(BaseModel):
    """What the classifier may answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    languages: tuple[str, ...] | None = Field(
        default=_WIDESPREAD,
        min_length=1,
        description="Languages told apart (ISO 639-1); null: all that the classifier knows.",
    )


class LanguageRules(LanguageChoice):
    """When a language is named."""

    min_language_letters: int = Field(
        default=20,
        ge=1,
        description="A text with fewer letters gets a language from its script or page only.",
    )
    min_language_confidence: float = Field(
        default=0.6, ge=0, le=1, description="Below this confidence the language stays unknown."
    )


def guess(texts: pa.Array, page_langs: pa.Array, languages: tuple[str, ...] | None) -> pa.Table:
    """What speaks for a language, before anything is decided; one row per text.

    `letters` (int32); `script` (string, the commonest, null without letters); `guess` (string) and
    `guess_confidence` (float32, 0 to 1): the likeliest of `languages`, null without letters.
    `page_langs` holds the page's declared language per text, or null.
    """
    letters = pc.count_substring_regex(texts, r"\pL").to_numpy(zero_copy_only=False)
    scripts = _scripts(texts)
    pages = pc.if_else(pa.array(_fits(page_langs, scripts)), page_langs, None)
    speaks = _SOLE[scripts]
    best = pc.coalesce(pages, pa.array(speaks, pa.string())).to_numpy(zero_copy_only=False).copy()
    confidence = np.full(len(texts), _SCRIPT_CONFIDENCE, np.float32)
    asked = ~_IS_SOLE[scripts] & (letters > 0)
    if asked.any():
        some = pa.array(asked)
        best[asked], confidence[asked] = _classify(
            texts.filter(some), pages.filter(some), languages
        )
    silent = letters == 0
    return pa.table(
        {
            "letters": pa.array(letters, pa.int32()),
            "script": pa.array(np.array(_SCRIPTS, object)[scripts], pa.string(), mask=silent),
            "guess": pa.array(best, pa.string(), mask=silent),
            "guess_confidence": pa.array(confidence, pa.float32(), mask=silent),
        }
    )


def decide(guessed: pa.Table, page_langs: pa.Array, rules: LanguageRules) -> pa.Table:
    """`lang` (string) and `lang_confidence` (float32), both null where unknown, from `guess` alone:
    another threshold asks the classifier nothing."""
    letters, guesses = guessed["letters"].to_numpy(), guessed["guess"].to_numpy()
    confidence = pc.fill_null(guessed["guess_confidence"], 0).to_numpy()
    scripts = pc.fill_null(pc.index_in(guessed["script"], pa.array(_SCRIPTS)), 0).to_numpy()
    pages = page_langs.to_numpy(zero_copy_only=False)
    short = ~_IS_SOLE[scripts] & (letters < rules.min_language_letters)
    agreed = guesses == pages
    unheard = pc.invert(pc.is_in(page_langs, pa.array(_told_apart(rules.languages))))
    alien = short & _fits(page_langs, scripts) & unheard.to_numpy(zero_copy_only=False)
    langs = np.where(alien, pages, guesses)
    confidence = np.where(alien, _PAGE_CONFIDENCE, confidence)
    confidence = np.where(short & agreed, np.maximum(confidence, _PAGE_CONFIDENCE), confidence)
    known = ~short | agreed | alien
    known &= (letters > 0) & (confidence >= rules.min_language_confidence)
    return pa.table(
        {
            "lang": pa.array(langs, pa.string(), mask=~known),
            "lang_confidence": pa.array(confidence, pa.float32(), mask=~known),
        }
    )


def identify(texts: pa.Array, page_langs: pa.Array, rules: LanguageRules) -> pa.Table:
    """`lang` (string) and `lang_confidence` (float32) of texts at once, both null where unknown."""
    return decide(guess(texts, page_langs, rules.languages), page_langs, rules)


def _told_apart(languages: tuple[str, ...] | None) -> tuple[str, ...]:
    return languages if languages is not None else tuple(sorted(known_languages()))


def _classify(
    texts: pa.Array, pages: pa.Array, languages: tuple[str, ...] | None
) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.float32]]:
    """The likeliest language of each text and its share; a page's language counts more."""
    chances, names = classifier.chances(texts, languages)
    places = pc.fill_null(pc.index_in(pages, pa.array(names)), -1).to_numpy()
    rows = np.flatnonzero(places >= 0)
    chances[rows, places[rows]] *= _PAGE_WEIGHT
    # Of equal chances the last: without evidence the threshold decides.
    best = chances.shape[1] - 1 - np.argmax(chances[:, ::-1], axis=1)
    share = chances[np.arange(len(best)), best] / chances.sum(axis=1)
    return np.array(names, object)[best], share.astype(np.float32)


def _fits(page_langs: pa.Array, scripts: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Whether the page's language is known and writes the text's script."""
    pages = pc.fill_null(page_langs, "").dictionary_encode()
    names = pages.dictionary.to_pylist()
    writes = [[s in _WRITES.get(name, ("Latin",)) for s in _SCRIPTS] for name in names]
    table = np.array(writes, bool).reshape(len(names), len(_SCRIPTS))
    table[[i for i, name in enumerate(names) if not name]] = False
    return table[pages.indices.to_numpy(), scripts]


def _scripts(texts: pa.Array) -> npt.NDArray[np.intp]:
    """Position in `_SCRIPTS` of the commonest script of each text; any kana outweighs Han, as
    Japanese mixes both. ASCII texts are Latin without counting."""
    found = np.zeros(len(texts), np.intp)
    beyond = pc.invert(pc.string_is_ascii(texts)).to_numpy(zero_copy_only=False)
    some = texts.filter(pa.array(beyond))
    counts = np.stack(
        [
            pc.count_substring_regex(some, rf"\p{{{script}}}").to_numpy(zero_copy_only=False)
            for script in _SCRIPTS
        ]
    )
    han, kana = _SCRIPTS.index("Han"), _SCRIPTS.index("Hiragana")
    japanese = (counts[kana] > 0) | (counts[kana + 1] > 0)
    counts[kana] = counts[kana] + counts[han] * japanese
    counts[han] = counts[han] * ~japanese
    found[beyond] = np.argmax(counts, axis=0)
    return found
