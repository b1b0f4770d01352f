"""Which text is the caption, and how far it is trusted."""

from __future__ import annotations

from tests.weak.helpers import evidence

ALT = ("alt", "a red circle")
GOOD = ("caption", "Two large red circles on the left and a star on the right.")
WRONG = ("caption", "Three blue hearts at the bottom, a smiling face at the top.")


def weights(*texts: tuple[str, str]) -> dict[str, float]:
    found = evidence(list(texts))
    return dict(zip(found.texts["text"].to_pylist(), found.weight.tolist(), strict=True))


def test_caption_that_disagrees_with_the_alt_text_is_not_trusted() -> None:
    assert weights(ALT, WRONG)[WRONG[1]] < 0.35 < 0.8 < weights(ALT, GOOD)[GOOD[1]]


def test_other_texts_settle_which_one_is_wrong() -> None:
    title = ("title", "Red circles")
    found = weights(ALT, WRONG, title)
    assert found[ALT[1]] > 1.8 * found[WRONG[1]]


def test_languages_agree_through_the_bilingual_list() -> None:
    found = weights(ALT, ("caption", "Zwei große rote Kreise links"))
    assert min(found.values()) > 0.8


def test_lone_text_is_trusted_by_its_role() -> None:
    alone = {role: weights((role, "a red circle"))["a red circle"] for role in ("caption", "alt")}
    assert 0.6 < alone["alt"] < alone["caption"] < 0.9


def test_keywords_of_a_whole_gallery_do_not_count_against_a_caption() -> None:
    gallery = ("keyword", "holiday")
    alone = evidence([ALT], [GOOD], page="g").weight
    found = evidence([ALT, gallery], [GOOD, gallery], page="g")
    own = [w for w, r in zip(found.weight, found.role, strict=True) if r != "keyword"]
    assert own == alone.tolist()
    assert found.keyword_weight.tolist() == [0.35, 0.35]


def test_paragraph_about_other_things_does_not_count_against_a_caption() -> None:
    aside = ("context", "Opening hours are from nine to five on weekdays.")
    assert weights(ALT, aside)[ALT[1]] == weights(ALT)[ALT[1]]
