"""Predictions as pictures: the same samples throughout, what was said and what is true."""

from __future__ import annotations

import io

from PIL import Image

from mmcore.models.predictor import Predictor
from mmcore.train.contact_sheet import Card, Said, draw_sheet
from mmcore.train.loop import Hooks
from mmcore.train.progress import Record
from mmcore.train.showcase import Exhibit, Gallery, cards, choose, exhibit
from mmcore.train.validation import Validation
from tests.models import tiny
from tests.train import world
from tests.train.test_loop import trainer


def exhibits(count: int) -> list[Exhibit]:
    return [
        exhibit(picture, record, number, "en")
        for number, (picture, record) in enumerate(zip(*world.samples(count), strict=True))
    ]


def card(answer: str) -> Card:
    return Card(
        tiny.picture("red", "left"),
        Said("a red square", "a red square on the left"),
        "what colour is the square?",
        Said(answer, "red", 0.9),
        (("red", 0.9, True), ("blue", 0.1, False)),
        Said("positive", "positive", 0.8),
    )


def pixels_of(png: bytes) -> Image.Image:
    with Image.open(io.BytesIO(png)) as opened:
        return opened.convert("RGB")


def test_samples_with_most_labels_come_first_and_one_of_a_cluster() -> None:
    caption = {"captions": [{"text": "x"}]}
    full = {**caption, "qa": [{"question": "q", "answer": "a"}], "tags": [{"tag": "t"}]}
    records = [caption, {**full, "cluster": "c"}, {**full, "cluster": "c"}, {**full}]
    assert choose(records) == [1, 3, 0]
    assert choose(records, most=1) == [1]


def test_the_question_differs_from_picture_to_picture() -> None:
    asked = [shown.question for shown in exhibits(2)]
    assert asked == ["what colour is the square?", "where is the square?"]


def test_the_caption_shown_is_in_the_language_the_model_writes() -> None:
    record = {"captions": [{"text": "ein Bild", "lang": "de"}, {"text": "a picture", "lang": "en"}]}
    assert exhibit(b"", record, 0, "en").caption == "a picture"
    assert exhibit(b"", record, 0, "fr").caption == "ein Bild"
    assert exhibit(b"", {}, 0, "en") == Exhibit(b"", "", "", "", (), "")


def test_a_card_says_what_the_model_says() -> None:
    model = Predictor(tiny.artifact())
    shown = exhibits(3)
    made = cards(shown, model)
    pictures = [e.picture for e in shown]
    assert [c.caption.text for c in made] == model.caption(pictures)
    answers = model.answer(pictures, [e.question for e in shown])
    assert [(c.answer.text, c.answer.probability) for c in made] == answers
    assert [c.answer.truth for c in made] == ["red", "right", "green"]
    for row, (made_card, likely) in enumerate(zip(made, model.tags(pictures), strict=True)):
        name, probability, true = made_card.tags[0]
        assert probability == likely.max() and true == (name in shown[row].tags)


def test_right_and_wrong_answers_have_different_colours_on_the_same_sheet_size() -> None:
    right, wrong = draw_sheet("t", [card("red")]), draw_sheet("t", [card("blue")])
    assert right == draw_sheet("t", [card("red")])  # the same input, the same bytes
    first, second = pixels_of(right), pixels_of(wrong)
    assert first.size == second.size
    red = [sum(r > 150 and g < 80 and b < 80 for r, g, b in x.getdata()) for x in (first, second)]
    assert red[1] > red[0] + 50  # the wrong answer's ink, beside the red square of both


def test_long_texts_and_odd_pictures_stay_on_their_card() -> None:
    flat = Image.new("RGB", (900, 3), "red")
    sink = io.BytesIO()
    flat.save(sink, "PNG")
    long = "word " * 200 + "x" * 500
    tags = tuple((long, 0.5, False) for _ in range(4))
    odd = Card(sink.getvalue(), Said(long, long), long, Said(long, long, 1.0), tags, Said("", ""))
    sheet = pixels_of(draw_sheet("t", [odd, card("red")]))
    alone = pixels_of(draw_sheet("t", [card("red"), card("red")]))
    right = (sheet.width // 2, 0, sheet.width, sheet.height)
    difference = [
        sum(abs(a - b) for a, b in zip(p, q, strict=True)) > 60
        for p, q in zip(sheet.crop(right).getdata(), alone.crop(right).getdata(), strict=True)
    ]
    assert not any(difference)  # nothing runs over into the card beside it


def test_a_training_shows_its_pictures_at_every_validation_and_at_the_end() -> None:
    shown: list[Record] = []
    made = trainer(steps=10, validations=2)
    made.validation = Validation(world.training_data(6))
    gallery = Gallery(exhibits(2), tiny.LABELS, tiny.tokenizer(), shown.append, print)
    made.fit(Hooks(validated=lambda model, t: gallery.show(model, t.state.cursor)))
    last = gallery.close(made.ema.model, made.state.cursor)
    seen = [v["samples"] for v in made.state.validations]
    assert [record["samples"] for record in shown] == [*seen, made.state.cursor]
    assert last == shown[-1]["predictions"] and last != shown[0]["predictions"]


def test_nothing_to_show_gives_no_picture() -> None:
    shown: list[Record] = []
    gallery = Gallery((), tiny.LABELS, tiny.tokenizer(), shown.append, print)
    gallery.show(tiny.model(), 0)
    assert gallery.close(tiny.model(), 0) is None and shown == []


def test_a_picture_that_cannot_be_made_ends_no_training() -> None:
    said: list[str] = []
    broken = [exhibit(b"not a picture", {}, 0, "en")]
    gallery = Gallery(broken, tiny.LABELS, tiny.tokenizer(), lambda record: None, said.append)
    gallery.show(tiny.model(), 0)
    assert gallery.close(tiny.model(), 0) is None
    assert len(said) == 2 and said[0].startswith("no picture of predictions: ")
