"""What is read from a page: images with their texts by role, links, comments, licences."""

from __future__ import annotations

import pytest
from selectolax.lexbor import LexborHTMLParser

from mmcore.crawl.dom import Texts
from mmcore.crawl.extract import Page, Reference, extract_page

URL = "http://example.org/docs/page.html"


def read(body: str, head: str = "", **more: str) -> Page:
    html = f"<html><head>{head}</head><body>{body}</body></html>"
    return extract_page(html, URL, **more)  # type: ignore[arg-type]


def only(page: Page) -> Reference:
    assert len(page.references) == 1, [r.image_url for r in page.references]
    return page.references[0]


def urls(page: Page) -> list[str]:
    return [r.image_url.removeprefix("http://example.org/") for r in page.references]


def test_the_roles_of_text_are_kept_apart() -> None:
    page = read(
        """<h1>Birds</h1><h2>Owls</h2><section>
        <p>The barn owl hunts at night over open fields.</p>
        <figure><img src="owl.jpg" alt="An owl" title="Tyto alba">
        <figcaption>A barn owl <b>at rest</b></figcaption></figure></section>""",
        '<title>All  birds</title><meta name=keywords content="owl, bird;night">',
    )
    owl = only(page)
    assert owl.image_url == "http://example.org/docs/owl.jpg"
    assert (owl.alt, owl.title, owl.caption) == ("An owl", "Tyto alba", "A barn owl at rest")
    assert owl.context == "The barn owl hunts at night over open fields."
    assert owl.heading == "Birds > Owls"
    assert (page.title, page.keywords) == ("All birds", ("owl", "bird", "night"))


def test_an_empty_alt_is_a_statement_and_a_missing_one_is_none() -> None:
    page = read('<img src="a.png" alt=""><img src="b.png">')
    assert [r.alt for r in page.references] == ["", None]


def test_every_way_to_show_an_image_is_seen() -> None:
    page = read(
        """<img src="a.png"><img src="data:image/gif;base64,R0" data-src="lazy.png"><img src="#">
        <img src="s.png" srcset="s.png 300w, large.png 900w">
        <picture><source srcset="p.webp 1x, p2.webp 2x"><img src="p.png" alt="P"></picture>
        <object type="image/svg+xml" data="o.svg">A drawing</object>
        <input type="image" src="button.gif" alt="Go"><object data="x.pdf"></object>
        <noscript><img src="ns.png"></noscript><iframe src="dot.svg"></iframe>
        <iframe src="page.html"></iframe><embed src="e.svg"><embed src="film.swf">
        <amp-img src="amp.jpg" alt="On a phone"></amp-img>"""
    )
    names = ["a", "lazy", "s", "large", "p2.webp", "p", "o.svg", "button.gif", "ns", "dot.svg"]
    names += ["e.svg", "amp.jpg"]
    assert urls(page) == [f"docs/{n if '.' in n else n + '.png'}" for n in names]
    by_url = {r.image_url.rsplit("/")[-1]: r for r in page.references}
    assert by_url["p2.webp"].alt == "P", "a source speaks through the img of its picture"
    assert (by_url["amp.jpg"].element, by_url["amp.jpg"].alt) == ("img", "On a phone")


def test_what_an_object_shows_instead_is_its_context_and_no_alt_text() -> None:
    page = read("""<p>A paragraph of the page beside the drawing.</p><div class="graphviz">
        <object data="o.svg" type="image/svg+xml" class="graphviz">
        <p class="warning">digraph { a -> b }</p></object></div>""")
    assert (only(page).alt, only(page).context) == (None, "digraph { a -> b }")


def test_a_link_to_a_full_size_image_lends_the_thumbnails_texts() -> None:
    page = read(
        """<figure><a href="full.jpg"><img src="thumb.jpg" alt="A fox"></a>
        <figcaption>Fox at dusk</figcaption></figure>
        <a href="same.png"><img src="same.png"></a> <a href="text.png">a plot</a>"""
    )
    assert urls(page) == ["docs/full.jpg", "docs/thumb.jpg", "docs/same.png", "docs/text.png"]
    full, thumb = page.references[:2]
    assert (full.element, full.alt, full.caption) == ("link", thumb.alt, thumb.caption)
    assert page.links == ()


def test_the_upload_behind_a_wordpress_thumbnail_is_an_image_of_the_page() -> None:
    page = read(
        """<div class="tiled-gallery-item"><a href="/?attachment_id=7"><img alt="Fox"
        data-orig-file="/up/fox.jpg" src="/up/fox.jpg?w=300"
        data-image-caption="&lt;p&gt;Fox at &lt;i&gt;dusk&lt;/i&gt;&lt;/p&gt;"></a></div>"""
    )
    assert urls(page) == ["up/fox.jpg?w=300", "up/fox.jpg"]
    assert {(r.alt, r.caption) for r in page.references} == {("Fox", "Fox at dusk")}


def test_the_areas_of_an_image_map_may_lead_to_images() -> None:
    page = read('<img src=a.png usemap="#m"><map name=m><area href="b.png" alt="Part B"></map>')
    assert urls(page) == ["docs/a.png", "docs/b.png"]
    assert (page.references[1].element, page.references[1].alt) == ("link", "Part B")


def test_og_image_counts_where_the_page_does_not_show_it() -> None:
    head = """<meta property="og:image" content="/share.jpg"><meta property="og:image:alt"
        content="A card"><meta property="og:image" content="a.png">"""
    page = read('<img src="a.png">', head)
    assert urls(page) == ["docs/a.png", "share.jpg"]
    assert (page.references[1].element, page.references[1].alt) == ("meta", "A card")


CAPTIONS = {
    "sphinx": """<div class="figure"><img src=a.png><p class="caption"><span class="caption-text">
        The caption</span><a class="headerlink" href="#x">¶</a></p></div>""",
    "sphinx legend": """<div class="figure"><a class="image-reference"><img src=a.png></a>
        <p class="caption">The caption</p><div class="legend">more</div></div>""",
    "sphinx gallery": """<div class="sphx-glr-thumbcontainer"><div class="figure"><img src=a.png>
        <p class="caption"><span class="caption-text"><a href="x.html">The caption</a></span></p>
        </div></div>""",
    "docbook figure": """<div class="figure"><p class="title"><b>The caption</b></p>
        <div class="figure-contents"><div class="mediaobject"><img src=a.png></div></div></div>""",
    "docbook media": """<div class="mediaobject"><img src=a.png>
        <div class="caption"><p>The caption</p></div></div>""",
    "doxygen": """<div class="image"><img src=a.png><div class="caption">The caption</div></div>""",
    "asciidoc": """<div class="imageblock"><div class="content"><img src=a.png></div>
        <div class="title">The caption</div></div>""",
    "mediawiki thumb": """<div class="thumb tright"><div class="thumbinner"><a><img src=a.png></a>
        <div class="thumbcaption"><div class="magnify">+</div>The caption</div></div></div>""",
    "mediawiki gallery": """<li class="gallerybox"><div class="thumb"><img src=a.png></div>
        <div class="gallerytext"><p>The caption</p></div></li>""",
    "wordpress": """<div class="wp-caption"><a><img src=a.png></a>
        <p class="wp-caption-text">The caption</p></div>""",
    "wordpress gallery": """<dl class="gallery-item"><dt><img src=a.png></dt>
        <dd class="gallery-caption">The caption</dd></dl>""",
    "wordpress block": """<figure class="wp-block-image"><img src=a.png>
        <figcaption class="wp-element-caption">The caption</figcaption></figure>""",
    "blogger": """<table class="tr-caption-container"><tr><td><img src=a.png></td></tr>
        <tr><td class="tr-caption">The caption</td></tr></table>""",
    "docbook viewport": """<div class="mediaobject"><table border="0" summary="manufactured viewport
        for HTML img" width="480"><tr><td><img src=a.png></td></tr></table>
        <div class="caption"><p>The caption</p></div></div>""",
    "docbook viewport in a figure": """<div class="figure"><p class="title"><b>The caption</b></p>
        <div class="figure-contents"><div class="screenshot"><div class="mediaobject"><table
        summary="manufactured viewport for HTML img"><tr><td><img src=a.png></td></tr></table>
        </div></div></div></div>""",
    "doxygen graph": """<div class="dotgraph"><img src=a.png usemap="#g"><div class="caption">
        The caption</div></div>""",
    "texinfo": """<div class="float"><span id="f"></span><div align="center"><img src=a.png></div>
        <div class="float-caption"><p>The caption</p></div></div>""",
    "sphinx gallery 0.11": """<div class="sphx-glr-thumbcontainer"><img src=a.png>
        <p><a href="x.html">x</a></p><div
        class="sphx-glr-thumbnail-title">The caption</div></div>""",
    "mediawiki figure": """<figure class="mw-default-size" typeof="mw:File/Thumb"><a
        href="/wiki/File:A.png" class="mw-file-description"><img src=a.png class="mw-file-element"
        srcset="//example.org/docs/a.png 1.5x"></a><figcaption>The caption</figcaption></figure>""",
    "mediawiki new gallery": """<li class="gallerybox"><div class="thumb"><span
        typeof="mw:File"><a><img src=a.png></a></span></div>
        <div class="gallerytext">The caption</div></li>""",
    "jetpack": """<div class="tiled-gallery-item"><img src=a.png>
        <div class="tiled-gallery-caption">The caption</div></div>""",
    "layout table": """<table><tr><td><img src=a.png></td></tr>
        <tr><td><p class="caption">The caption</p></td></tr></table>""",
    "latex2html": """<table><caption>The caption</caption>
        <tr><td><img src=a.png></td></tr></table>""",
}  # fmt: skip


@pytest.mark.parametrize("convention", CAPTIONS)
def test_a_caption_is_found_by_the_convention_of(convention: str) -> None:
    assert only(read(CAPTIONS[convention])).caption == "The caption"


def test_the_caption_of_another_figure_is_not_taken() -> None:
    page = read(
        """<div><figure><img src=a.png><figcaption>First</figcaption></figure>
        <img src=b.png><p class="caption">a stray line</p></div>
        <table><caption>Numbers</caption><tr><td><img src=c.png><td><img src=d.png></table>"""
    )
    assert [r.caption for r in page.references] == ["First", None, None, None]


def test_each_picture_of_a_group_has_its_own_caption_or_the_groups() -> None:
    gallery = read(
        """<figure class="wp-block-gallery"><figure class="wp-block-image"><img src=a.png>
        <figcaption>A</figcaption></figure><figure class="wp-block-image"><img src=b.png></figure>
        <figcaption class="blocks-gallery-caption">All of them</figcaption></figure>"""
    )
    assert [r.caption for r in gallery.references] == ["A", "All of them"]
    multiple = read(
        """<div class="thumb tmulti"><div class="thumbinner multiimageinner"><div class="trow">
        <div class="tsingle"><div class="thumbimage"><img src=a.png></div><div
        class="thumbcaption">A</div></div><div class="tsingle"><div class="thumbimage"><img
        src=b.png></div><div class="thumbcaption">B <img src=flag.png></div></div></div>
        </div></div>"""
    )
    assert [r.caption for r in multiple.references] == ["A", "B", None]
    side_by_side = read(
        """<table><tr><td><img src=a.png><td>Words beside them<td><img src=b.png></tr>
        <tr><td><p class="caption">A</p><td><p class="caption">B</p></tr></table>"""
    )
    assert [r.caption for r in side_by_side.references] == ["A", "B"]


def test_the_caption_of_a_table_of_data_is_not_a_pictures() -> None:
    page = read(
        """<table class="tableblock"><caption class="title">Table 1. Buttons</caption>
        <tr><td><span class="image"><img src=a.png></span></td><td>Opens a file</td></tr></table>"""
    )
    assert only(page).caption is None
    note = """<div class="admonitionblock note"><table><tr><td class="icon"><div class="title">Note
        </div></td><td class="content">Press <img src=a.png></td></tr></table></div>"""
    assert only(read(note)).caption is None


def test_the_nearest_paragraph_stands_around_before_or_after_the_image() -> None:
    inside = only(read("<p>These words stand around <img src=a.png> the image itself.</p>"))
    assert inside.context == "These words stand around the image itself."
    after = only(read("<h2>Fox</h2><div><img src=a.png></div><p>A fox is a small wild dog.</p>"))
    assert after.context == "A fox is a small wild dog."
    other = "<p>Words of the section before this one.</p><h2>Next</h2><img src=a.png>"
    assert only(read(other)).context is None
    menu = "<nav><ul><li>Words of the menu, long enough <img src=a.png></li></ul></nav>"
    assert only(read(menu)).context is None


def test_the_nearest_language_counts() -> None:
    html = """<html lang=en-GB><body><img src=a.png><div lang=de-AT><p><img src=b.png></p></div>
        <p xml:lang=fr><img src=c.png>"""
    assert [r.lang for r in extract_page(html, URL).references] == ["en", "de", "fr"]
    assert only(read("<img src=a.png>", language="it-IT, en")).lang == "it"
    assert only(read("<img src=a.png>")).lang is None


ENTRY = """<section><figure><img src="{0}.png"></figure><p>Some words about the picture.</p>
    <ul class="comments"><li class="comment"><b class="author">Ann</b>
    <span class="comment-text">I like {0}</span></li>
    <li class="comment"><b class="author">Bob</b> <time>today</time> So sad {0}</li></ul>
    </section>"""


def test_comments_belong_to_the_picture_they_stand_with() -> None:
    page = read(ENTRY.format("a") + ENTRY.format("b"))
    assert [r.comments for r in page.references] == [
        ("I like a", "So sad a"),
        ("I like b", "So sad b"),
    ]
    assert page.references[0].context == "Some words about the picture."


def test_comments_between_pictures_belong_to_the_one_before() -> None:
    page = read(
        """<img src=a.png><p class="comment">about a, surely</p>
        <img src=b.png><p class="comment">about b, surely</p>"""
    )
    assert [r.comments for r in page.references] == [("about a, surely",), ("about b, surely",)]


def test_a_comment_on_a_page_with_many_pictures_belongs_to_none() -> None:
    page = read("<img src=a.png><img src=b.png><p class='comment'>about what?</p>")
    assert [r.comments for r in page.references] == [(), ()]


def test_schema_org_comments_and_replies_are_read_without_bylines_and_avatars() -> None:
    page = read(
        """<main><figure><img src=a.png></figure><div itemprop="comment" itemscope
        itemtype="https://schema.org/Comment"><img src=avatar.png><span itemprop="author">Eve</span>
        <p itemprop="text">What a view</p><div class="comment">A reply</div></div></main>"""
    )
    assert page.references[0].comments == ("What a view", "A reply")
    assert page.references[1].comments == ()


def test_highlighted_code_is_no_comment() -> None:
    page = read("<img src=a.png><pre><span class='comment'># x</span><p class=comment>y</pre>")
    assert only(page).comments == ()


def test_the_licence_of_the_figure_comes_before_the_pages() -> None:
    page = read(
        """<figure><img src=a.png><a rel="license" href="/by">BY</a></figure><img src=b.png>
        <footer><a rel="license" href="https://creativecommons.org/licenses/by-sa/4.0/">CC</a>"""
    )
    assert [r.license for r in page.references] == [
        "http://example.org/by",
        "https://creativecommons.org/licenses/by-sa/4.0/",
    ]
    data = '{"@graph": [{"@type": "ImageObject", "license": "https://example.org/terms"}]}'
    linked = read("<img src=a.png>", f'<script type="application/ld+json">{data}</script>')
    assert only(linked).license == "https://example.org/terms"


def test_links_are_each_given_once_in_order_without_fragments() -> None:
    page = read(
        """<a href="b.html#x">b</a><a href="a.html"></a><a href="b.html"></a><a href="#top"></a>
        <a href="http://example.org/docs/abs.html">abs</a><area href="c.html">
        <iframe src="frame.html"></iframe><a href="mailto:x@y.z"></a><a href="file.zip"></a>""",
        '<link rel="next" href="next.html"><link rel="stylesheet" href="s.css">'
        '<meta http-equiv="refresh" content="5; url=moved.html">',
    )
    names = " ".join(u.rsplit("/")[-1] for u in page.links)
    assert names == "next.html b.html a.html abs.html c.html frame.html file.zip moved.html"


def test_base_href_counts_for_everything_on_the_page() -> None:
    page = read('<img src="a.png"><a href="b.html">', '<base href="/media/">')
    assert urls(page) == ["media/a.png"]
    assert page.links == ("http://example.org/media/b.html",)


def test_references_that_are_no_usable_url_are_on_record() -> None:
    page = read('<img src="http://u:p@h/a.png"><a href="http://h:99999/">')
    assert set(page.invalid) == {("image", "http://u:p@h/a.png"), ("page", "http://h:99999/")}


def test_broken_html_still_gives_its_images() -> None:
    html = "<body><p>one<img src=a.png alt='A <b>'<img src='b.png'><table><tr><img src=c.png><li>x"
    page = extract_page(html, URL)
    assert "http://example.org/docs/c.png" in {r.image_url for r in page.references}
    for nonsense in ("", "\x00\x01", "<<<<>>>>", "<img src=", "<" * 5000, "<div>" * 3000):
        extract_page(nonsense, URL)


SLOW = {
    "nested figures": "<div class=figure><img src=a.png>",
    "nested headings": "<h1><div>x<img src=a.png>",
    "nested tables": "<table><tr><td><img src=a.png>",
    "nested comments": "<div class=comment>c<img src=a.png>",
    "nested articles": "<article><img src=a.png><a rel=license href=/l>",
    "one paragraph": "<img src=a.png> and these words ",
    "comments": "<div class=comment>c</div><img src=a.png>",
}


@pytest.mark.parametrize("shape", SLOW)
def test_a_page_made_to_be_slow_gives_its_images_all_the_same(shape: str) -> None:
    page = extract_page("<p>" * (shape == "one paragraph") + SLOW[shape] * 1_500, URL)
    assert len(page.references) == 1_500


def test_the_texts_of_a_page_end_where_they_cost_too_much() -> None:
    tree = LexborHTMLParser("<p>" + "<i>word</i>" * 5_000 + "<p>next")
    texts = Texts()
    long, short = tree.css("p")
    assert 100 < texts.of(long).count("word") < 5_000
    while texts.of(long):
        pass
    assert texts.of(short) == ""


def test_the_pages_language_holds_however_deep_an_image_stands() -> None:
    html = f"<html lang=de><body>{'<div>' * 500}<img src=a.png>"
    assert only(extract_page(html, URL)).lang == "de"


def test_directives_of_the_page_hold_for_the_agent_named() -> None:
    head = '<meta name="robots" content="nofollow"><meta name="mmcorebot" content="noai">'
    page = read("", head, agent="mmcorebot")
    assert page.directives == {"nofollow", "noai"}
    assert page.meta_robots == "nofollow, noai"
