"""The texts that stand around one figure, drawn from its key and revision."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from mmcore.samplesite import english, german
from mmcore.samplesite.comments import comments
from mmcore.samplesite.config import rng
from mmcore.samplesite.plan import Figure, Page

_VOICES = {"en": english, "de": german}
_CAPTIONED = 0.65
_BOILERPLATE = {
    "en": ("image", "IMG_{n}.jpg", "photo", "DSC{n}.JPG", "picture"),
    "de": ("Bild", "IMG_{n}.jpg", "Foto", "DSC{n}.JPG", "image"),
}
_CONTACTS = {
    "en": ("Write to {mail}", "Prints: call {phone}", "Contact {mail} or {phone}"),
    "de": ("Schreiben Sie an {mail}", "Abzüge: Tel. {phone}", "Kontakt: {mail}, {phone}"),
}
_NAMES = ("anna.schmidt", "b.miller", "carla-lopez", "info", "j.weber", "peter_olsen")
_HOSTS = ("example.org", "mail.example.com", "studio.example.net")
_PHONES = (
    "+49 30 5550{n:03d}",
    "+44 20 7946 0{n:03d}",
    "(212) 555-0{n:03d}",
    "+49 (0)89 555 0{n:03d}",
)


@dataclass(frozen=True)
class Texts:
    """All texts of a figure; ``alt`` is None where the attribute is missing.

    personal: the e-mail addresses and phone numbers that stand in the caption.
    """

    alt: str | None
    title: str | None
    caption: str | None
    context: str | None
    heading: str | None
    comments: tuple[str, ...]
    personal: tuple[str, ...] = ()


def _contact(lang: str, draw: Random) -> tuple[str, tuple[str, ...]]:
    """A sentence with personal data, and that data (all from reserved, unused ranges)."""
    number = draw.randrange(100, 199)
    mail = f"{draw.choice(_NAMES)}@{draw.choice(_HOSTS)}"
    phone = draw.choice(_PHONES).format(n=number)
    form = draw.choice(_CONTACTS[lang])
    found = tuple(v for k, v in (("{mail}", mail), ("{phone}", phone)) if k in form)
    return form.format(mail=mail, phone=phone), found


def _alt(figure: Figure, draw: Random) -> str | None:
    text = _VOICES[figure.lang].alt(figure.scene, draw)  # type: ignore[attr-defined]
    if figure.dirt == "missing_alt":
        return None
    if figure.dirt == "boilerplate_alt":
        return draw.choice(_BOILERPLATE[figure.lang]).format(n=1000 + 7 * figure.scene.index)
    return str(text)


def figure_texts(figure: Figure) -> Texts:
    """Everything a page says about one figure; a pure function of the figure."""
    draw = rng(figure.scene.seed, "texts", figure.key, figure.revision)
    voice, told = _VOICES[figure.lang], figure.told
    must = figure.dirt in ("wrong_caption", "personal_data")
    caption: str | None = voice.caption(told, draw)  # type: ignore[attr-defined]
    personal: tuple[str, ...] = ()
    if draw.random() >= _CAPTIONED and not must:
        caption = None
    elif figure.dirt == "personal_data" and caption:
        note, personal = _contact(figure.lang, draw)
        caption = f"{caption.rstrip('.')}. {note}"
    plain = figure.dirt != "wrong_caption"  # a wrong caption stands under no right heading
    detail = figure.key.startswith("detail/")
    return Texts(
        alt=_alt(figure, draw),
        title=voice.title(figure.scene, draw) if draw.random() < 0.25 and plain else None,  # type: ignore[attr-defined]
        caption=caption,
        context=voice.paragraph(told, draw) if draw.random() < 0.4 or detail else None,  # type: ignore[attr-defined]
        heading=voice.heading(told, draw) if draw.random() < 0.25 or detail else None,  # type: ignore[attr-defined]
        comments=tuple(comments(figure.scene.sentiment, figure.lang, draw)),
        personal=personal,
    )


def page_title(page: Page) -> str:
    """What stands in <title>; a detail page names its picture."""
    if page.kind == "detail":
        figure = page.figures[0]
        draw = rng(figure.scene.seed, "page title", page.path)
        return str(_VOICES[page.lang].title(figure.scene, draw))  # type: ignore[attr-defined]
    return page.title


def page_keywords(page: Page) -> list[str]:
    """<meta name=keywords>: telling on a picture's own page, general elsewhere."""
    if page.kind == "detail":
        return list(_VOICES[page.lang].keywords(page.figures[0].scene))  # type: ignore[attr-defined]
    return {"en": ["pictures", "gallery", "shapes"], "de": ["Bilder", "Galerie", "Formen"]}[
        page.lang
    ]
