"""SVG: drawn like a browser does, and never a way to files, the network or endless work."""

from __future__ import annotations

import base64
import io
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from mmcore.clean.header import Header, Refused, open_image
from mmcore.clean.images import Normalized, normalize
from mmcore.clean.policy import PixelPolicy
from tests.clean.helpers import encode, picture

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '


def _svg(body: str, attributes: str = 'width="100" height="50"', before: str = "") -> bytes:
    return f"{before}{HEAD}{attributes}>{body}</svg>".encode()


def _header(data: bytes) -> Header:
    return open_image(data, svg=True)[1]


def _draw(data: bytes, **policy: object) -> Normalized:
    return normalize(data, *open_image(data, svg=True), PixelPolicy(svg=True, **policy))


def _reason(data: bytes) -> str:
    with pytest.raises(Refused) as refused:
        _draw(data)
    return refused.value.reason


def _colour(image: Normalized, x: int, y: int) -> tuple[int, ...]:
    return tuple(int(v) for v in image.pixels[y, x])


def test_shapes_stand_on_the_background() -> None:
    drawn = _draw(_svg('<rect width="50" height="50" fill="#0000ff"/>'))
    assert drawn.pixels.shape == (50, 100, 3)
    assert _colour(drawn, 10, 25) == (0, 0, 255)
    assert _colour(drawn, 90, 25) == (255, 255, 255)
    red = _draw(_svg('<rect width="50" height="50"/>'), background="#ff0000")
    assert _colour(red, 90, 25) == (255, 0, 0)


def test_text_is_drawn_with_the_font_that_comes_along() -> None:
    drawn = _draw(_svg('<text x="5" y="40" font-size="40" font-family="Nobody">MMM</text>'))
    assert 0.1 < (drawn.pixels < 128).mean() < 0.6


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ('width="30px" height="40"', (30, 40)),
        ('width="2in" height="1in"', (192, 96)),
        ('width="254mm" height="127mm"', (960, 480)),
        ('viewBox="0 0 30 40"', (30, 40)),
        ('width="100%" height="100%" viewBox="0,0,30,40"', (30, 40)),
        ('width="60" viewBox="0 0 30 40"', (60, 80)),
        ('height="80" viewBox="0 0 30 40"', (60, 80)),
    ],
)
def test_its_size_is_what_a_browser_takes(attributes: str, size: tuple[int, int]) -> None:
    header = _header(_svg("", attributes))
    assert (header.format, header.width, header.height) == ("SVG", *size)
    assert (_draw(_svg("", attributes)).width, _draw(_svg("", attributes)).height) == size


def test_prologues_and_doctypes_are_passed_over() -> None:
    doctype = '<?xml version="1.0"?>\n<!-- by hand -->\n<!DOCTYPE svg PUBLIC "-//W3C//DTD" "x.dtd">'
    assert _header(_svg("", before=doctype)).format == "SVG"
    named = '<!DOCTYPE svg [<!ENTITY ns "http://www.w3.org/1999/xlink">]>'
    assert _header(_svg('<g a="&ns;"/>', before=named)).format == "SVG"


def test_it_is_off_unless_it_is_asked_for() -> None:
    with pytest.raises(Refused) as refused:
        open_image(_svg(""))
    assert refused.value.reason == "unsupported_format"
    assert "mmcore[svg]" in refused.value.detail


@pytest.mark.parametrize(
    "body",
    [
        '<image href="{file}" width="9" height="9"/>',
        '<image xlink:href="file://{file}" width="9" height="9"/>',
        '<image href="http://127.0.0.1:1/a.png" width="9" height="9"/>',
        '<use href="other.svg#part"/>',
        '<feImage href="{file}"/>',
        '<image href="data:image/svg+xml;base64,PHN2Zz4=" width="9" height="9"/>',
        '<image href="data:image/png;base64,PHN2Zz4=" width="9" height="9"/>',
    ],
)
def test_what_lies_outside_is_not_read(tmp_path: Path, body: str) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(encode(picture(1)))
    assert _reason(_svg(body.format(file=secret))) == "unsafe_svg"


def test_an_entity_hides_nothing(tmp_path: Path) -> None:
    hidden = '<!DOCTYPE svg [<!ENTITY there "/etc/passwd">]>'
    assert _reason(_svg('<image href="&there;"/>', before=hidden)) == "unsafe_svg"
    element = "<!DOCTYPE svg [<!ENTITY it \"<image href='/etc/passwd'/>\">]>"
    assert _reason(_svg("&it;", before=element)) == "unsafe_svg"
    outside = f'<!DOCTYPE svg [<!ENTITY file SYSTEM "file://{tmp_path}">]>'
    assert _reason(_svg("<text>&file;</text>", before=outside)) == "unsafe_svg"


def test_a_billion_laughs_are_refused() -> None:
    names = "abcdefghij"
    lines = ['<!ENTITY a "ha">'] + [f'<!ENTITY {y} "{f"&{x};" * 10}">' for x, y in pairwise(names)]
    bomb = f"<!DOCTYPE svg [{''.join(lines)}]>"
    assert _reason(_svg("<text>&j;</text>", before=bomb)) == "decode_error"


def test_links_and_embedded_bitmaps_are_harmless() -> None:
    png = base64.b64encode(encode(Image.new("RGB", (4, 4), "red"))).decode()
    image = f'<image href="data:image/png;base64,{png}" width="100" height="50"/>'
    drawn = _draw(_svg(f'<a href="https://example.org/">{image}</a>'))
    assert _colour(drawn, 50, 25) == (255, 0, 0)


def test_a_huge_drawing_is_refused_and_a_broken_one_is_an_error() -> None:
    assert _reason(_svg("", 'width="90000" height="90000"')) == "too_many_pixels"
    assert _reason(_svg("<g>")) == "decode_error"
    assert _reason(_svg("", "")) == "decode_error"


def test_the_same_drawing_gives_the_same_bytes() -> None:
    data = _svg('<circle cx="50" cy="25" r="20"/><text x="5" y="30">text</text>')
    assert _draw(data).encoded == _draw(data).encoded
    assert Image.open(io.BytesIO(_draw(data).encoded)).format == "JPEG"
