from __future__ import annotations

import pytest

from mmcore.crawl.urls import (
    InvalidUrl,
    best_candidate,
    is_image_file,
    resolve,
    srcset_candidates,
)

BASE = "http://example.org/a/b/page.html?q=1"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("c.png", "http://example.org/a/b/c.png"),
        ("../c.png", "http://example.org/a/c.png"),
        ("../../../../c.png", "http://example.org/c.png"),
        ("./", "http://example.org/a/b/"),
        ("/x/%2e%2e/y", "http://example.org/y"),
        ("//cdn.example.org/x", "http://cdn.example.org/x"),
        ("?page=2", "http://example.org/a/b/page.html?page=2"),
        ("", "http://example.org/a/b/page.html?q=1"),
        ("c.html#part", "http://example.org/a/b/c.html"),
        ("  my file.png\n", "http://example.org/a/b/my%20file.png"),
        ("schöne bilder/ä.png", "http://example.org/a/b/sch%C3%B6ne%20bilder/%C3%A4.png"),
        ("a%20b%zz.png", "http://example.org/a/b/a%20b%zz.png"),
        ("\\win\\style.png", "http://example.org/win/style.png"),
        ("HTTP://EXAMPLE.org:80", "http://example.org/"),
        ("https://example.org:443/x", "https://example.org/x"),
        ("http://example.org:8080/x", "http://example.org:8080/x"),
        ("http://bücher.example/x", "http://xn--bcher-kva.example/x"),
        ("http://example.org./x", "http://example.org/x"),
        ("x?name=a b", "http://example.org/a/b/x?name=a%20b"),
        ("new\nline.png", "http://example.org/a/b/newline.png"),
    ],
)
def test_a_reference_resolves_as_in_a_browser(reference: str, expected: str) -> None:
    assert resolve(BASE, reference) == expected


@pytest.mark.parametrize(
    "reference", ["mailto:a@b.c", "javascript:x()", "data:image/gif;base64,R0"]
)
def test_other_schemes_are_not_fetched(reference: str) -> None:
    assert resolve(BASE, reference) is None


@pytest.mark.parametrize(
    "reference",
    ["http://user:secret@example.org/", "http://example.org:99999/", "http://", "http://a b/"],
)
def test_a_url_nobody_could_request_is_invalid(reference: str) -> None:
    with pytest.raises(InvalidUrl):
        resolve(BASE, reference)


def test_the_query_is_written_in_the_pages_encoding() -> None:
    assert resolve(BASE, "x?q=ä", "cp1252") == "http://example.org/a/b/x?q=%E4"


def test_the_base_may_have_no_folder() -> None:
    assert resolve("http://example.org/", "x.png") == "http://example.org/x.png"
    assert resolve("http://example.org/page", "x.png") == "http://example.org/x.png"


def test_srcset_candidates_may_hold_commas() -> None:
    value = "a,b.png 1x, data:image/png;base64,AA== 2x,c.png 300w , d.png"
    assert srcset_candidates(value) == [
        ("a,b.png", 1.0),
        ("data:image/png;base64,AA==", 2.0),
        ("c.png", 300.0),
        ("d.png", 1.0),
    ]


def test_the_largest_srcset_candidate_is_taken() -> None:
    assert best_candidate("s.png 300w, l.png 1200w, m.png 600w") == "l.png"
    assert best_candidate("one.png, two.png 2x") == "two.png"
    assert best_candidate(" , ") is None


def test_a_wiki_page_about_a_picture_is_a_page() -> None:
    assert is_image_file("http://example.org/a/Cat.JPG?x=1")
    assert not is_image_file("http://example.org/wiki/File:Cat.jpg")
    assert not is_image_file("http://example.org/cat.html")


def test_a_placeholder_or_a_density_that_is_no_number_is_never_the_best_candidate() -> None:
    assert best_candidate("data:image/gif;base64,R0lGOD 9x, a.png 1x") == "a.png"
    assert best_candidate("a.png nanx, b.png infx, c.png 2x") == "c.png"
    assert best_candidate("data:image/gif;base64,R0lGOD") is None


def test_a_bare_fragment_is_the_page_itself() -> None:
    assert resolve("http://h/a/b.html?q", "#top") == "http://h/a/b.html?q"
