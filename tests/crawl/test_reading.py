"""Charsets, consent directives, robots verdicts, sniffing, redirect chains, addresses."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import pytest

from mmcore.crawl.address import DnsError, PinnedResolver, PrivateAddress, is_refused
from mmcore.crawl.charset import decode_page
from mmcore.crawl.consent import ConsentPolicy, header_directives, meta_directives
from mmcore.crawl.gate import Gate, Politeness
from mmcore.crawl.redirects import follow
from mmcore.crawl.robots import RobotsFile, parse_robots
from mmcore.crawl.sniff import image_type, looks_like_html, sniff_image
from tests.crawl.site import png

GERMAN = "<p>Schöne Grüße aus Köln, für größere Bäume und süße Äpfel über alle Flüsse</p>"
RUSSIAN = "<p>Большая красная собака бежит по зелёной траве рядом с домом у реки</p>"


@pytest.mark.parametrize(
    ("body", "header", "codec"),
    [
        (GERMAN.encode("cp1252"), "text/html; charset=ISO-8859-1", "cp1252"),
        (b"\xef\xbb\xbf" + GERMAN.encode(), "text/html; charset=iso-8859-1", "utf-8"),
        (b'<meta charset="iso-8859-1">' + GERMAN.encode("cp1252"), "text/html", "cp1252"),
        (
            b'<?xml version="1.0" encoding="ISO-8859-15"?>' + GERMAN.encode("iso-8859-15"),
            "",
            "iso8859-15",
        ),
        (b'<meta charset="utf-16">' + GERMAN.encode(), "", "utf-8"),
        (b"\xff\xfe" + GERMAN.encode("utf-16-le"), "", "utf-16-le"),
        (GERMAN.encode(), "text/html; charset=nonsense", "utf-8"),
        (GERMAN.encode(), "", "utf-8"),
    ],
)
def test_text_is_read_in_the_charset_the_page_means(body: bytes, header: str, codec: str) -> None:
    text, used = decode_page(body, header)
    assert used == codec
    assert GERMAN in text


def test_an_undeclared_legacy_charset_is_recognised() -> None:
    assert decode_page(GERMAN.encode("cp1252"))[0] == GERMAN
    assert decode_page(RUSSIAN.encode("cp1251"))[0] == RUSSIAN


@pytest.mark.parametrize("label", ["rot13", "hex", "idna", "undefined", "utf-7", "unicode_escape"])
def test_a_charset_the_web_does_not_have_is_not_believed(label: str) -> None:
    assert decode_page(GERMAN.encode(), f"text/html; charset={label}") == (GERMAN, "utf-8")
    assert decode_page(f"<meta charset={label}>{GERMAN}".encode())[1] == "utf-8"


def test_a_charset_in_a_comment_or_of_no_use_is_passed_over() -> None:
    head = b"<!-- <meta charset=koi8-r> --><meta charset=x-nonsense><meta charset=windows-1252>"
    assert decode_page(head + GERMAN.encode("cp1252"))[1] == "cp1252"


def test_encodings_that_look_like_ascii_or_have_no_bom_are_recognised() -> None:
    japanese = "<p>日本語のページです</p>"
    assert decode_page(japanese.encode("iso2022_jp")) == (japanese, "iso2022_jp")
    for codec in ("utf-16-le", "utf-16-be"):
        assert decode_page(GERMAN.encode(codec)) == (GERMAN, codec)


def test_a_date_in_a_header_does_not_hide_the_directive_after_it() -> None:
    value = "unavailable_after: Wed, 03 Dec 2025 10:00:00 GMT, noai"
    assert ConsentPolicy().refusal(header_directives([value], "mmcorebot")) == "noai"
    other = f"otherbot: {value}"
    assert ConsentPolicy().refusal(header_directives([other], "mmcorebot")) is None


def test_directives_with_blanks_between_them_count() -> None:
    assert ConsentPolicy().refusal(meta_directives([("robots", "noindex nofollow")], "m")) == (
        "noindex"
    )
    assert ConsentPolicy().refusal(header_directives(["nofollow noai"], "m")) == "noai"
    valued = meta_directives([("robots", "max-image-preview: none")], "m")
    assert ConsentPolicy().refusal(valued) is None


def test_a_header_may_speak_to_one_crawler_only() -> None:
    other = header_directives(["otherbot: noindex, noai"], "mmcorebot")
    assert ConsentPolicy().refusal(other) is None
    mine = header_directives(["otherbot: noindex, mmcorebot: noai"], "mmcorebot")
    assert ConsentPolicy().refusal(mine) == "noai"
    everyone = header_directives(["noindex, nofollow"], "mmcorebot")
    assert everyone == {"noindex", "nofollow"}


def test_a_header_value_with_a_colon_names_no_crawler() -> None:
    words = header_directives(["unavailable_after: 25 Jun 2030, noimageindex"], "mmcorebot")
    assert ConsentPolicy().refusal(words) == "noindex"


def test_meta_robots_may_speak_to_one_crawler_only() -> None:
    assert ConsentPolicy().refusal(meta_directives([("googlebot", "noindex")], "mmcorebot")) is None
    assert (
        ConsentPolicy().refusal(meta_directives([("MMcoreBot", "NoImageAI")], "mmcorebot"))
        == "noai"
    )
    assert meta_directives([("robots", "none")], "mmcorebot") >= {"noindex", "nofollow"}


@pytest.mark.parametrize(
    ("body", "allowed"),
    [
        (b"\xef\xbb\xbfUser-agent: *\nDisallow: /a", False),
        (b"User-agent: mmcorebot/1.0\nDisallow: /a", False),
        (b"User-agent: mmcore\nDisallow: /a", True),
        (b"User-agent: x\rUser-agent: MMcoreBot # ours\rDisallow: /a", False),
        (b"User-agent: mmcorebot\nDisallow: /b\n\nUser-agent: *\nDisallow: /a", True),
    ],
)
def test_a_group_of_robots_txt_holds_for_the_product_token_it_names(
    body: bytes, allowed: bool
) -> None:
    robots = parse_robots(RobotsFile("ok", 200, body))
    assert robots.allows("http://h/a", "mmcorebot") is allowed


def test_a_host_that_asks_for_a_day_between_requests_is_left_alone() -> None:
    gate = Gate(Politeness(max_retry_after=120.0), "h")
    gate.slow_to(120.0)
    assert not gate.parked
    gate.slow_to(86_400.0)
    assert gate.parked


RULES = b"User-agent: *\nDisallow: /private/\nAllow: /private/press/\nCrawl-delay: 2\n"


def test_robots_rules_allow_the_longest_match() -> None:
    robots = parse_robots(RobotsFile("ok", 200, RULES))
    assert not robots.allows("http://h/private/a.png", "mmcorebot")
    assert robots.allows("http://h/private/press/a.png", "mmcorebot")
    assert robots.crawl_delay("mmcorebot") == 2.0


@pytest.mark.parametrize(
    ("reason", "status", "allowed"),
    [
        ("http_error", 404, True),
        ("http_error", 403, True),
        ("redirected", 301, True),
        ("empty", 200, True),
        ("http_error", 503, False),
        ("rate_limited", 429, False),
    ],
)
def test_an_answer_without_rules_follows_rfc_9309(reason: str, status: int, allowed: bool) -> None:
    assert (
        parse_robots(RobotsFile(reason, status, b"")).allows("http://h/x", "mmcorebot") is allowed
    )


def test_an_unreachable_host_keeps_its_own_reason() -> None:
    assert parse_robots(RobotsFile("dns_error", None, b"")).failure == "dns_error"
    assert parse_robots(RobotsFile("timeout", None, b"")).failure == "timeout"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (png(), "image/png"),
        (b"\xff\xd8\xff\xe0" + bytes(20), "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"\x00\x00\x00\x20ftypavif", "image/avif"),
        (b"GIF89a....", "image/gif"),
        (b"II*\x00....", "image/tiff"),
        (b'<?xml version="1.0"?>\n<!-- x -->\n<svg xmlns="s">', "image/svg+xml"),
        (b"BM is how a text may begin, too", None),
        (b"<!DOCTYPE html><html><svg>", None),
        (b"", None),
    ],
)
def test_an_image_is_known_by_its_first_bytes(head: bytes, expected: str | None) -> None:
    assert sniff_image(head) == expected


def test_the_servers_word_counts_only_for_unknown_binary() -> None:
    assert image_type(png(), "application/octet-stream") == "image/png"
    assert image_type(b"\x00\x01\x02\x03strange", "image/x-odd") == "image/x-odd"
    assert image_type(b"<html><p>sorry", "image/png") is None
    assert image_type(b"plain words", "image/png") is None
    assert looks_like_html(b"\xef\xbb\xbf <!-- c --> <HTML lang=en>")


def test_chains_of_redirects_end_the_same_wherever_they_are_entered() -> None:
    targets = {"a": "b", "b": "c", "x": "y", "y": "x", "into": "x"}
    assert follow("a", targets, 5).end == "c"
    assert {follow(u, targets, 5).reason for u in ("x", "y", "into")} == {"redirect_loop"}
    long = {str(i): str(i + 1) for i in range(20)}
    assert follow("0", long, 5).reason == "too_many_redirects"
    assert follow("16", long, 5).reason == "redirected"


@pytest.mark.parametrize(
    ("address", "refused", "refused_if_allowed"),
    [
        ("93.184.216.34", False, False),
        ("127.0.0.1", True, False),
        ("::1", True, False),
        ("10.1.2.3", True, False),
        ("192.168.0.1", True, False),
        ("fd12::1", True, False),
        ("169.254.169.254", True, True),
        ("fe80::1", True, True),
        ("fd00:ec2::254", True, True),
        ("0.0.0.0", True, True),
        ("224.0.0.1", True, True),
        ("255.255.255.255", True, True),
        ("100.100.100.200", True, True),
        ("::ffff:169.254.169.254", True, True),
        ("::ffff:127.0.0.1", True, False),
        ("64:ff9b::7f00:1", True, False),
        ("2002:a9fe:a9fe::1", True, True),
    ],
)
def test_private_and_metadata_addresses_are_refused(
    address: str, refused: bool, refused_if_allowed: bool
) -> None:
    assert is_refused(ip_address(address), private_allowed=False) is refused
    assert is_refused(ip_address(address), private_allowed=True) is refused_if_allowed


def test_a_name_is_resolved_once_and_pinned_against_rebinding() -> None:
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])

    async def _twice() -> list[str]:
        resolver = PinnedResolver(lookup=lambda host: next(answers))
        await resolver.pin("rebind.example")
        return [entry["host"] for entry in await resolver.resolve("rebind.example", 80)]

    assert asyncio.run(_twice()) == ["93.184.216.34"]


@pytest.mark.parametrize(
    ("host", "found", "error"),
    [
        ("inner.example", ["93.184.216.34", "10.0.0.7"], PrivateAddress),
        ("2130706433", ["127.0.0.1"], PrivateAddress),
        ("[::1]", [], PrivateAddress),
    ],
)
def test_a_name_with_a_private_address_is_refused(
    host: str, found: list[str], error: type[Exception]
) -> None:
    async def _pin() -> None:
        await PinnedResolver({"127.0.0.1"}, lookup=lambda name: found).pin(host)

    with pytest.raises(error):
        asyncio.run(_pin())


def test_a_name_that_does_not_resolve_is_a_dns_error() -> None:
    def _fail(host: str) -> list[str]:
        raise OSError(-2, "Name or service not known")

    async def _pin() -> None:
        await PinnedResolver(lookup=_fail).pin("nowhere.example")

    with pytest.raises(DnsError):
        asyncio.run(_pin())
