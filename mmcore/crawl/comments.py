"""Visitors' comments, and which image each is about.

Comments are found by schema.org (`Comment`, `itemprop=comment`) and by the class names that blogs
and galleries use. A comment belongs to the image it shares the nearest surroundings with; where
those hold several images, to the one picture between it and the comments before it.
"""

from __future__ import annotations

from collections.abc import Iterable

from selectolax.lexbor import LexborHTMLParser, LexborNode

from mmcore.crawl.dom import ancestors, attribute, classes, visible_text

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


def find_comments(tree: LexborHTMLParser) -> list[tuple[LexborNode, str]]:
    """(element, text) of every comment in document order; replies are comments of their own."""
    # An element that two of the selectors match comes twice.
    matched = {n.mem_id: n for n in tree.css(_ROOTS)}
    roots = {i: n for i, n in matched.items() if n.tag in _ROOT_TAGS and not _in_code(n)}
    identities = frozenset(roots)
    found = ((node, _text(node, identities)) for node in roots.values())
    return [(node, text) for node, text in found if text]


def _in_code(node: LexborNode) -> bool:
    return any(outer.tag in _CODE_TAGS for outer in ancestors(node))


def _text(root: LexborNode, roots: frozenset[int]) -> str:
    """What the comment says, without its byline and without replies nested in it."""

    def _skip(node: LexborNode) -> bool:
        if node.mem_id in roots or node.tag in ("time", "cite"):
            return True
        if (attribute(node, "itemprop") or "") in ("author", "dateCreated", "datePublished"):
            return True
        return not classes(node).isdisjoint(_BYLINES)

    for body in root.css(_TEXTS):
        own = all(outer.mem_id not in roots for outer in _between(body, root))
        if own and body.mem_id != root.mem_id and body.mem_id not in roots:
            return visible_text(body, _skip)
    return visible_text(root, _skip)


def _between(node: LexborNode, root: LexborNode) -> Iterable[LexborNode]:
    for outer in ancestors(node):
        if outer.mem_id == root.mem_id:
            return
        yield outer


def assign_comments(
    images: list[LexborNode], comments: list[tuple[LexborNode, str]], order: dict[int, int]
) -> dict[int, list[str]]:
    """Comments by image: `mem_id` of the image element -> texts, in document order.

    order: `mem_id` of images and comments -> their place in the document.
    """
    if not comments:
        return {}
    roots = frozenset(node.mem_id for node, _ in comments)
    inside: dict[int, list[LexborNode]] = {}
    for image in images:
        outers = list(ancestors(image))
        if _is_content(image, outers, roots):
            for outer in outers:
                inside.setdefault(outer.mem_id, []).append(image)
    assigned: dict[int, list[str]] = {}
    for node, text in comments:
        near = next((inside[a.mem_id] for a in ancestors(node) if a.mem_id in inside), [])
        image_id = _subject(node, near, comments, order)
        if image_id is not None:
            assigned.setdefault(image_id, []).append(text)
    return assigned


def _is_content(image: LexborNode, outers: list[LexborNode], roots: frozenset[int]) -> bool:
    """A picture somebody may comment on: no avatar, no part of the site's frame, no icon."""
    if any(outer.tag in _FURNITURE or outer.mem_id in roots for outer in outers):
        return False
    sizes = [attribute(image, "width"), attribute(image, "height")]
    return not any(s is not None and s.isdigit() and int(s) <= _ICON_PIXELS for s in sizes)


def _subject(
    comment: LexborNode,
    near: list[LexborNode],
    comments: list[tuple[LexborNode, str]],
    order: dict[int, int],
) -> int | None:
    """The image a comment is about, None where that is not clear."""
    if len(near) == 1:
        return near[0].mem_id
    here = order[comment.mem_id]
    before = [image for image in near if order[image.mem_id] < here]
    if not before:
        return None
    last = order[before[-1].mem_id]
    earlier = [order[node.mem_id] for node, _ in comments if order[node.mem_id] < last]
    since = [image for image in before if order[image.mem_id] > max(earlier, default=-1)]
    figures = [i for i in since if any(outer.tag == "figure" for outer in ancestors(i))]
    chosen = since if len(since) == 1 else figures
    return chosen[0].mem_id if len(chosen) == 1 else None
