"""Visitors' comments, and which image each is about.

Comments are found by schema.org (`Comment`, `itemprop=comment`) and by the class names that blogs
and galleries use. A comment belongs to the image it shares the nearest surroundings with; where
those hold several images, to the one picture between it and the comments before it.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import partial
from operator import itemgetter

from selectolax.lexbor import LexborHTMLParser, LexborNode

from mmcore.crawl.dom import Texts, ancestors, attribute, classes

_ROOTS = (
    '[itemprop~="comment"],[itemtype*="schema.org/Comment"],[itemtype*="schema.org/UserComments"],'
    '[typeof~="Comment"],.comment,.user-comment,.visitor-comment,.comment-entry,'
    ".comments>li,.comments>p,.comments>blockquote,.comment-list>li,.commentlist>li,"
    "#comments>li,#comments>p,#comments>blockquote,#comments>ul>li,#comments>ol>li"
)
_TEXTS = (
    '[itemprop~="text"],[itemprop~="commentText"],.comment-content,.comment-body,.comment-text,'
    ".comment-message,.comment_text"
)
_ROOT_TAGS = frozenset({"div", "li", "article", "p", "blockquote", "dd", "section", "q"})
_CODE_TAGS = frozenset({"pre", "code"})
# Who wrote it and when is not what they said.
_BYLINES = frozenset(
    [
        "author",
        "byline",
        "comment-author",
        "comment-meta",
        "comment-metadata",
        "comment-date",
        "comment-header",
        "vcard",
        "date",
        "time",
        "timestamp",
        "reply",
        "comment-reply-link",
        "says",
        "avatar",
        "fn",
    ]
)
_FURNITURE = frozenset({"header", "nav", "footer", "aside"})
_ICON_PIXELS = 64
_MOST_BETWEEN = 64


def find_comments(tree: LexborHTMLParser, texts: Texts) -> list[tuple[LexborNode, str]]:
    """(element, text) of every comment in document order; replies are comments of their own."""
    # An element that two of the selectors match comes twice.
    matched = {n.mem_id: n for n in tree.css(_ROOTS)}
    roots = {i: n for i, n in matched.items() if n.tag in _ROOT_TAGS and not _in_code(n)}
    bodies = _bodies(tree, roots) if roots else {}
    skip = partial(_is_no_comment, frozenset(roots))
    found = ((node, texts.of(bodies.get(i, node), skip)) for i, node in roots.items())
    return [(node, text) for node, text in found if text]


def _in_code(node: LexborNode) -> bool:
    return any(outer.tag in _CODE_TAGS for outer in ancestors(node))


def _bodies(tree: LexborHTMLParser, roots: dict[int, LexborNode]) -> dict[int, LexborNode]:
    """`mem_id` of a comment -> the element in it that holds what was said, where one is marked."""
    found: dict[int, LexborNode] = {}
    for body in tree.css(_TEXTS):
        if body.mem_id not in roots:
            root = next((n.mem_id for n in ancestors(body) if n.mem_id in roots), None)
            if root is not None:
                found.setdefault(root, body)
    return found


def _is_no_comment(roots: frozenset[int], node: LexborNode) -> bool:
    """A byline, or a reply, which is a comment of its own."""
    if node.mem_id in roots or node.tag in ("time", "cite"):
        return True
    if (attribute(node, "itemprop") or "") in ("author", "dateCreated", "datePublished"):
        return True
    return not classes(node).isdisjoint(_BYLINES)


def assign_comments(
    images: list[LexborNode], comments: list[tuple[LexborNode, str]], order: dict[int, int]
) -> dict[int, list[str]]:
    """Comments by image: `mem_id` of the image element -> texts, in document order.

    order: `mem_id` of images and comments -> their place in the document.
    """
    if not comments:
        return {}
    roots = frozenset(node.mem_id for node, _ in comments)
    inside: dict[int, list[tuple[int, LexborNode]]] = {}
    for image in images:
        outers = list(ancestors(image))
        if _is_content(image, outers, roots):
            for outer in outers:
                inside.setdefault(outer.mem_id, []).append((order[image.mem_id], image))
    places = sorted(order[identity] for identity in roots)
    assigned: dict[int, list[str]] = {}
    for node, text in comments:
        near = next((inside[a.mem_id] for a in ancestors(node) if a.mem_id in inside), [])
        image_id = _subject(order[node.mem_id], near, places)
        if image_id is not None:
            assigned.setdefault(image_id, []).append(text)
    return assigned


def _is_content(image: LexborNode, outers: list[LexborNode], roots: frozenset[int]) -> bool:
    """A picture somebody may comment on: no avatar, no part of the site's frame, no icon."""
    if any(outer.tag in _FURNITURE or outer.mem_id in roots for outer in outers):
        return False
    sizes = [attribute(image, "width"), attribute(image, "height")]
    return not any(s is not None and s.isdigit() and int(s) <= _ICON_PIXELS for s in sizes)


def _subject(here: int, near: list[tuple[int, LexborNode]], comments: list[int]) -> int | None:
    """The image a comment is about, None where that is not clear.

    here: the comment's place in the document. near: (place, image) of those that share the nearest
    surroundings with it. comments: the places of all comments. Both in ascending order.
    """
    if len(near) == 1:
        return near[0][1].mem_id
    end = bisect_left(near, here, key=itemgetter(0))
    if end == 0:
        return None
    # The pictures between this comment, with those right before it, and the comments before them.
    earlier = bisect_left(comments, near[end - 1][0])
    start = bisect_left(near, comments[earlier - 1], key=itemgetter(0)) if earlier else 0
    if end - start == 1:
        return near[start][1].mem_id
    since = [image for _, image in near[start : min(end, start + _MOST_BETWEEN)]]
    figures = [i for i in since if any(outer.tag == "figure" for outer in ancestors(i))]
    return figures[0].mem_id if len(figures) == 1 else None
