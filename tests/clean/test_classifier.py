"""The classifier over a column gives what its library gives a text at a time."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from mmcore.clean.classifier import chances

# One sentence a language, of the Universal Declaration of Human Rights, article 1.
SENTENCES = [
    "All human beings are born free and equal in dignity and rights.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
    "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti.",
    "Todos os seres humanos nascem livres e iguais em dignidade e em direitos.",
    "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren.",
    "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.",
    "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv.",
    "Alla människor är födda fria och lika i värde och rättigheter.",
    "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan.",
    "Minden emberi lény szabadon születik és egyenlő méltósága és joga van.",
    "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar.",
    "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια.",
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "人人生而自由,在尊严和权利上一律平等。",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.",
    "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền.",
]
ODD = ["", " ", "12 34", "İSTANBUL", "ΟΔΥΣΣΕΑΣ", "e\u0301te\u0301 a\u0300 la plage", "\ud7ff", "🙂"]


def _texts() -> list[str]:
    """The sentences whole, in capitals, and cut short at random."""
    draw = random.Random(0)
    cut = [s[: draw.randint(1, len(s))] for s in SENTENCES for _ in range(20)]
    return [*SENTENCES, *(s.upper() for s in SENTENCES), *cut, "\n".join(SENTENCES) * 3, *ODD]


@pytest.mark.parametrize("languages", [None, ("en", "de", "fr", "sr"), ("ja", "zh", "ko", "en")])
def test_chances_are_those_of_the_library(languages: tuple[str, ...] | None) -> None:
    library = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    if languages is not None:
        library.set_languages(languages)
    texts = _texts()
    found, names = chances(pa.array(texts), languages)
    wanted = np.array([[dict(library.rank(t))[name] for name in names] for t in texts])
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    sure = wanted.max(axis=1) - np.sort(wanted, axis=1)[:, -2] > 1e-4
    assert sure.mean() > 0.95
    assert (found.argmax(axis=1) == wanted.argmax(axis=1))[sure].all()


def test_a_slice_of_a_column_is_read_where_it_is() -> None:
    column = pa.array([*SENTENCES, *SENTENCES])
    part, _ = chances(column.slice(len(SENTENCES), 5), ("en", "de", "fr", "es", "it"))
    whole, _ = chances(column, ("en", "de", "fr", "es", "it"))
    np.testing.assert_array_equal(part, whole[:5])


def test_no_texts_have_no_chances() -> None:
    assert chances(pa.array([], pa.string()), ("en", "de"))[0].shape == (0, 2)
