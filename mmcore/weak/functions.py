"""The labeling functions: each has a name and a task, reads the evidence, and votes or abstains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.captions import STRICT_ROLES
from mmcore.weak.evidence import Evidence
from mmcore.weak.facts import fact_votes
from mmcore.weak.feelings import comment_votes, mood_votes
from mmcore.weak.phrases import find_phrases
from mmcore.weak.tags import fact_tags, keyword_votes
from mmcore.weak.vocabulary import Vocabulary, keyword_languages
from mmcore.weak.votes import VOTES
from mmcore.weak.words import classify

Vote = Callable[[Evidence, Vocabulary], pa.Table]

PHRASE_ROLES = ("caption", "alt", "title", "heading", "context")
"""Roles whose texts are read for facts; each is a labeling function of its own name."""


@dataclass(frozen=True)
class LabelingFunction:
    """`vote` returns `VOTES`; the `source` of its votes names it in every label it wins."""

    name: str
    task: str
    vote: Vote


def read_phrases(evidence: Evidence, vocabulary: Vocabulary) -> pa.Table:
    """Facts and the tags that follow from them, one function per role of `PHRASE_ROLES`."""
    words = evidence.words
    phrases = find_phrases(words, vocabulary.noun_evidence(words))
    role = evidence.role
    weight = np.where(np.isin(role, PHRASE_ROLES), evidence.weight, 0.0)
    phrases = phrases.filter(pa.array(_on_topic(phrases, evidence)))
    facts = fact_votes(phrases, evidence.image, role, weight)
    return pa.concat_tables([facts, fact_tags(facts)])


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


def read_comments(evidence: Evidence, vocabulary: Vocabulary) -> pa.Table:
    """Feelings in visitors' comments."""
    return comment_votes(evidence)


def read_moods(evidence: Evidence, vocabulary: Vocabulary) -> pa.Table:
    """Feelings that descriptive texts name."""
    return mood_votes(evidence)


FUNCTIONS = (
    LabelingFunction("phrases", "fact", read_phrases),
    LabelingFunction("keywords", "tag", read_keywords),
    LabelingFunction("comments", "sentiment", read_comments),
    LabelingFunction("moods", "sentiment", read_moods),
)


def vote_all(evidence: Evidence, vocabulary: Vocabulary) -> pa.Table:
    """The votes of all functions, as `VOTES`."""
    tables = [function.vote(evidence, vocabulary) for function in FUNCTIONS]
    return pa.concat_tables([VOTES.empty_table(), *tables])
