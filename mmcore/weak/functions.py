"""The labeling functions: each has a name and a task, reads the evidence, and votes or abstains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.addresses import FOLDER_WEIGHT, URL_ROLE
from mmcore.weak.captions import STRICT_ROLES
from mmcore.weak.champion import NEIGHBOURS, champion_votes, neighbour_votes
from mmcore.weak.evidence import Evidence
from mmcore.weak.facts import fact_votes
from mmcore.weak.feelings import comment_votes, mood_votes, rating_votes
from mmcore.weak.phrases import find_phrases
from mmcore.weak.tags import compound_tags, fact_tags, keyword_votes
from mmcore.weak.user_functions import UserFunction
from mmcore.weak.vocabulary import Vocabulary, keyword_languages
from mmcore.weak.votes import VOTES
from mmcore.weak.words import classify, detect_languages

Name = Literal[
    "caption",
    "alt",
    "title",
    "heading",
    "context",
    "url",
    "keyword",
    "page_language",
    "comments",
    "rating",
    "mood",
    "champion",
    "neighbours",
]
"""The built-in functions; a vote's `source` is the name of the function that gave it. All but
`page_language` vote: that one tells in which language texts too short to show theirs are read."""

PHRASE_ROLES = ("caption", "alt", "title", "heading", "context", "url")
"""Roles whose texts are read for facts; each is a labeling function of its own name."""

WITHOUT_CHAMPION: tuple[Name, ...] = (
    *("caption", "alt", "title", "heading", "context", "url", "keyword", "page_language"),
    *("comments", "rating", "mood"),
)
"""Those that read; the others look at pictures, and repeat what a model believes."""

Vote = Callable[[Evidence, Vocabulary], pa.Table]


@dataclass(frozen=True)
class LabelingFunction:
    """`vote` returns `VOTES`, whose `source` is `name`, for a task."""

    name: Name
    task: str
    vote: Vote


def read_phrases(evidence: Evidence, vocabulary: Vocabulary, roles: Sequence[str]) -> pa.Table:
    """Facts and the tags that follow from them, one function per role of `roles`."""
    words = evidence.words
    phrases = find_phrases(words, vocabulary.noun_evidence(words))
    role = evidence.role
    weight = np.where(np.isin(role, list(roles)), evidence.weight, 0.0)
    phrases = phrases.filter(pa.array(_on_topic(phrases, evidence)))
    facts = fact_votes(phrases, evidence.image, role, weight)
    compounds = compound_tags(phrases, evidence.image, role, weight)
    return pa.concat_tables([facts, fact_tags(facts), compounds])


def _on_topic(phrases: pa.Table, evidence: Evidence) -> NDArray[np.bool_]:
    """A paragraph speaks of many things: of those, only what the image's own texts name counts.

    Where an image has no text of its own, its paragraph is all there is.
    """
    text = phrases["text"].to_numpy()
    own = np.isin(evidence.role, STRICT_ROLES)
    image = evidence.image[text].astype(str)
    named = pc.binary_join_element_wise(pa.array(image), phrases["key"].combine_chunks(), "|")
    mine = own[text]
    known = pc.is_in(named, named.filter(pa.array(mine))).to_numpy(zero_copy_only=False)
    silent = ~np.isin(evidence.image, evidence.image[own])
    return mine | known | silent[text]


def read_keywords(evidence: Evidence, vocabulary: Vocabulary) -> pa.Table:
    """Tags from `<meta name=keywords>`, weaker where many images of a page share them."""
    keywords = evidence.keywords
    words = classify(keywords["text"].combine_chunks(), keyword_languages(evidence))
    return keyword_votes(words, keywords["image"].to_numpy(), evidence.keyword_weight)


def read_folders(evidence: Evidence, vocabulary: Vocabulary) -> pa.Table:
    """Tags from the folders of an image's and its pages' addresses, too weak to decide alone."""
    folders = evidence.folders
    texts = folders["text"].combine_chunks()
    words = classify(texts, detect_languages(texts, folders["lang"].combine_chunks()))
    weight = np.full(folders.num_rows, FOLDER_WEIGHT)
    return keyword_votes(words, folders["image"].to_numpy(), weight, URL_ROLE)


def read_comments(evidence: Evidence, vocabulary: Vocabulary) -> pa.Table:
    """Feelings in visitors' comments."""
    return comment_votes(evidence)


def read_ratings(evidence: Evidence, vocabulary: Vocabulary) -> pa.Table:
    """Ratings in visitors' comments."""
    return rating_votes(evidence)


def read_moods(evidence: Evidence, vocabulary: Vocabulary) -> pa.Table:
    """Feelings that descriptive texts name."""
    return mood_votes(evidence)


def ask_champion(evidence: Evidence, vocabulary: Vocabulary) -> pa.Table:
    """Tags and feelings that the champion sees."""
    return champion_votes(evidence.seen)


FUNCTIONS = (
    LabelingFunction("url", "tag", read_folders),
    LabelingFunction("keyword", "tag", read_keywords),
    LabelingFunction("comments", "sentiment", read_comments),
    LabelingFunction("rating", "sentiment", read_ratings),
    LabelingFunction("mood", "sentiment", read_moods),
    LabelingFunction("champion", "tag", ask_champion),
)


def vote_all(
    evidence: Evidence,
    vocabulary: Vocabulary,
    names: Sequence[str] = WITHOUT_CHAMPION,
    user: Sequence[UserFunction] = (),
) -> pa.Table:
    """The votes of the named functions and of the user's own, as `VOTES`."""
    roles = [role for role in PHRASE_ROLES if role in names]
    tables = [VOTES.empty_table(), read_phrases(evidence, vocabulary, roles)]
    tables += [f.vote(evidence, vocabulary) for f in FUNCTIONS if f.name in names]
    tables += [function(evidence) for function in user]
    votes = pa.concat_tables(tables)
    if NEIGHBOURS not in names:
        return votes
    return pa.concat_tables([votes, neighbour_votes(evidence.seen, votes)])
