"""What the corpus as a whole says: which words are nouns, which terms are usual, German genders."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.captions import content_words
from mmcore.weak.evidence import Evidence
from mmcore.weak.facts import is_uncountable
from mmcore.weak.lexicon import PREMODIFIER, Kind
from mmcore.weak.negatives import Mentions, Pool, Pools, balance, group_of
from mmcore.weak.phrases import NounEvidence, count_noun_uses, find_genders
from mmcore.weak.questions import World
from mmcore.weak.tags import is_tag, keyword_terms
from mmcore.weak.taxonomy import Taxonomy, count_relations, merge_relations, taxonomy
from mmcore.weak.votes import VOTES
from mmcore.weak.words import Words, candidate_nouns, classify

WORDS = pa.schema([("word", pa.string()), ("total", pa.int64()), ("clean", pa.int64())])
TERMS = pa.schema([("term", pa.string()), ("images", pa.int64())])
SAMPLE = pa.schema([("hash", pa.uint64()), ("groups", pa.list_(pa.string()))])
"""A few images, those with the smallest hashes, and the groups (`group_of`) their texts name."""

GENDERS = pa.schema([("key", pa.string()), ("gender", pa.string()), ("uses", pa.int64())])

_SURE, _USES = 0.1, 2
_NEVER, _OFTEN = 0.02, 5
_POOL = 1000
_SAMPLED = 2000
_OWN_KEYWORD = 0.3
_LEAST_COMPOUND = 2


@dataclass(frozen=True)
class Counts:
    """Counts over some images; sums of counts are counts.

    extra: `TERMS` that are tags and nothing else: compounds, and what the user's functions name.
    relations: `taxonomy.RELATIONS`. looks: `TERMS` such as `dog|brown`. sample: `SAMPLE`.
    """

    words: pa.Table
    terms: pa.Table
    extra: pa.Table
    relations: pa.Table
    looks: pa.Table
    sample: pa.Table
    genders: pa.Table
    images: int
    rows: int


@dataclass(frozen=True)
class Vocabulary:
    """The counts of the corpus as lookups."""

    total: dict[str, int] = field(default_factory=dict)
    clean: dict[str, int] = field(default_factory=dict)
    terms: dict[str, int] = field(default_factory=dict)
    extra: dict[str, int] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    sample: pa.Table = field(default_factory=lambda: SAMPLE.empty_table())
    genders: dict[str, str] = field(default_factory=dict)
    images: int = 0
    taxonomy: Taxonomy = field(default_factory=Taxonomy)

    def noun_evidence(self, words: Words) -> NounEvidence:
        """What is known of the nouns among the vocabulary of `words`."""
        keys = [f"{g}\t{n}" for g, n in zip(words.langs, words.names, strict=True)]
        total = np.array([self.total.get(k, 0) for k in keys], np.int64)
        clean = np.array([self.clean.get(k, 0) for k in keys], np.int64)
        share = clean / np.maximum(total, 1)
        listed = (words.kinds & int(Kind.NOUN)) != 0
        noun = listed | ((clean >= _USES) & (share >= _SURE))
        return NounEvidence(noun, ~listed & (total >= _OFTEN) & (share < _NEVER))

    def tags(self) -> dict[str, int]:
        """How many images name each tag; attributes go by their value (`red`)."""
        counts: dict[str, int] = {}
        for term, number in self.terms.items():
            counts[_bare(term)] = counts.get(_bare(term), 0) + number
        for term, number in self.extra.items():
            counts[term] = max(counts.get(term, 0), number)
        for form, tag in self.taxonomy.synonyms.items():
            counts[tag] = max(counts.get(tag, 0), counts.get(form, 0))
        return counts

    def world(self, min_images: int) -> World:
        """What questions may ask about in vain, and which nouns may be answers."""
        least = min_images if self.images >= 10 * min_images else 1
        usual = {t: n for t, n in self.terms.items() if n >= least}
        nouns = {
            t: n for t, n in usual.items() if ":" not in t and is_tag(t) and not is_uncountable(t)
        }
        moods = {t.partition(":")[2]: n for t, n in usual.items() if t.startswith("mood:")}
        colours = {t: n for t, n in self.looks.items() if n >= least}
        return World(
            nouns=self._pool(nouns),
            colours=Pools.of(colours),
            moods=self._pool(moods),
            genders=self.genders,
            answers=frozenset(usual),
        )

    def _pool(self, counts: dict[str, int]) -> Pool:
        """The commonest values, and how often to ask about each."""
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_POOL]
        names = np.array([name for name, _ in ordered], object)
        present = np.array([number for _, number in ordered], np.float64)
        return balance(names, present, self._sampled)

    @property
    def _sampled(self) -> Mentions:
        groups = self.sample["groups"].combine_chunks()
        image = pc.list_parent_indices(groups).to_numpy(zero_copy_only=False)
        return Mentions(image, _objects(groups.flatten()), self.sample.num_rows)


def count(
    evidence: Evidence, votes: pa.Table | None = None, hashes: NDArray[np.uint64] | None = None
) -> Counts:
    """The counts of one part.

    votes: of the user's functions, whose tags are counted too. hashes: uint64 [images], by which
    images are sampled; by default their numbers.
    """
    words = evidence.words
    total, clean = count_noun_uses(words)
    keys = [f"{g}\t{n}" for g, n in zip(words.langs, words.names, strict=True)]
    uses = np.bincount(words.code[clean], minlength=len(keys)) if len(keys) else total
    table = pa.table([pa.array(keys, pa.string()), total, uses], schema=WORDS)
    terms = _terms(evidence, clean)
    genders = find_genders(words)
    summed = genders.group_by(["key", "gender"]).aggregate([("key", "count")])
    gender_table = pa.table([summed[n] for n in ("key", "gender", "key_count")], schema=GENDERS)
    extra = _extra(evidence, clean, VOTES.empty_table() if votes is None else votes)
    relations = count_relations(evidence, clean)
    number = evidence.images
    looks, sample = _looks(evidence, clean), _sample(evidence, hashes)
    return Counts(table, terms, extra, relations, looks, sample, gender_table, number, number)


def merge(counts: list[Counts]) -> Vocabulary:
    """The vocabulary of a corpus from the counts of its parts."""
    words = _summed([c.words for c in counts], WORDS)
    terms = _summed([c.terms for c in counts], TERMS)
    genders = _summed([c.genders for c in counts], GENDERS)
    extra = _summed([c.extra for c in counts], TERMS)
    extra = extra.filter(pc.greater_equal(extra["images"], _LEAST_COMPOUND))
    sample = pa.concat_tables([SAMPLE.empty_table(), *(c.sample for c in counts)])
    names = words["word"].to_pylist()
    vocabulary = Vocabulary(
        total=dict(zip(names, words["total"].to_pylist(), strict=True)),
        clean=dict(zip(names, words["clean"].to_pylist(), strict=True)),
        terms=_lookup(terms),
        extra=_lookup(extra),
        looks=_lookup(_summed([c.looks for c in counts], TERMS)),
        sample=sample.take(pc.sort_indices(sample["hash"])[:_SAMPLED]),
        genders=_majority(genders),
        images=sum(c.images for c in counts),
    )
    relations = merge_relations([c.relations for c in counts])
    return replace(vocabulary, taxonomy=taxonomy(relations, vocabulary.tags()))


def _lookup(terms: pa.Table) -> dict[str, int]:
    return dict(zip(*(terms[n].to_pylist() for n in TERMS.names), strict=True))


def mentions(evidence: Evidence) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """(image, group) of everything that any text of an image names, whatever it is worth."""
    words, text = evidence.words, evidence.words.text
    groups = np.array([group_of(_bare(m)) for m in content_words(words)] or [], object)
    if not len(words):
        return np.zeros(0, np.int64), np.zeros(0, object)
    said = groups[words.code] != ""
    return evidence.image[text[said]], groups[words.code][said]


def _sample(evidence: Evidence, hashes: NDArray[np.uint64] | None) -> pa.Table:
    """`SAMPLE` of the images with the smallest hashes."""
    hashes = np.arange(evidence.images, dtype=np.uint64) if hashes is None else hashes
    chosen = np.argsort(hashes, kind="stable")[:_SAMPLED]
    image, group = mentions(evidence)
    order = np.argsort(image, kind="stable")
    sizes = np.bincount(image, minlength=evidence.images)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(group[order], pa.string()))
    return pa.table([pa.array(hashes[chosen]), lists.take(pa.array(chosen))], schema=SAMPLE)


def _looks(evidence: Evidence, clean: NDArray[np.bool_]) -> pa.Table:
    """In how many images a thing is said to have a colour: terms such as `dog|brown`."""
    words = evidence.words
    noun = candidate_nouns(words) & (clean | words.has(Kind.NOUN))
    at = np.flatnonzero(words.has(Kind.COLOUR)[:-1] & noun[1:])
    at = at[words.text[at] == words.text[at + 1]]
    colour = words.values["colour"][words.code[at]].astype(object)
    term = words.keys[words.code[at + 1]] + np.full(len(at), "|", object) + colour
    table = pa.table({"image": evidence.image[words.text[at]], "term": pa.array(term, pa.string())})
    found = table.group_by("term").aggregate([("image", "count_distinct")])
    return pa.table([found["term"], found["image_count_distinct"]], schema=TERMS)


def _bare(meaning: str) -> str:
    prefix, _, value = meaning.partition(":")
    return value if value and prefix != "de" else meaning


def _terms(evidence: Evidence, clean: NDArray[np.bool_]) -> pa.Table:
    """In how many images each term stands as a noun, an attribute or a keyword."""
    words = evidence.words
    meaning = content_words(words)
    attribute = np.array([":" in m and not m.startswith("de:") for m in meaning] or [], bool)
    listed = (words.kinds & int(Kind.NOUN)) != 0
    used = clean | (attribute | listed)[words.code] if len(words) else clean
    image, term = evidence.image[words.text[used]], meaning[words.code[used]]
    key_words = classify(evidence.keywords["text"].combine_chunks(), keyword_languages(evidence))
    row, key_term = keyword_terms(key_words)
    own = evidence.keyword_weight[row] >= _OWN_KEYWORD  # not the words of a whole gallery
    row, key_term = row[own], key_term[own]
    key_image = evidence.keywords["image"].to_numpy()[row]
    both = pa.table(
        {
            "image": np.concatenate([image, key_image]),
            "term": pa.array(np.concatenate([term, key_term]), pa.string()),
        }
    )
    found = (
        both.filter(pc.not_equal(both["term"], ""))
        .group_by("term")
        .aggregate([("image", "count_distinct")])
    )
    return pa.table([found["term"], found["image_count_distinct"]], schema=TERMS)


def _extra(evidence: Evidence, clean: NDArray[np.bool_], votes: pa.Table) -> pa.Table:
    """In how many images each English compound ("tabby cat") and each voted tag stands."""
    words = evidence.words
    noun = candidate_nouns(words) & ((words.kinds & int(PREMODIFIER)) == 0)[words.code]
    english = (words.langs == "en")[words.code]
    listed = clean | words.has(Kind.NOUN)
    at = np.flatnonzero(noun[:-1] & listed[1:] & english[1:] & ~words.plurals[words.code[:-1]])
    at = at[words.text[at] == words.text[at + 1]]
    first = words.names[words.code[at]].astype(object)
    compound = first + np.full(len(at), " ", object) + words.keys[words.code[at + 1]]
    tags = votes.filter(pc.equal(votes["task"], "tag"))
    image = np.concatenate([evidence.image[words.text[at]], tags["image"].to_numpy()])
    term = pa.chunked_array([pa.array(compound, pa.string()), *tags["slot"].chunks], pa.string())
    both = pa.table({"image": image, "term": term})
    found = both.group_by("term").aggregate([("image", "count_distinct")])
    return pa.table([found["term"], found["image_count_distinct"]], schema=TERMS)


def keyword_languages(evidence: Evidence) -> NDArray[np.object_]:
    """Keywords are too short to tell their language: that of all keywords of the image decides."""
    joint = evidence.role == "keyword"
    langs = np.full(evidence.images, "", object)
    langs[evidence.image[joint]] = evidence.langs[joint]
    return langs[evidence.keywords["image"].to_numpy()]


def _summed(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    keys = [f.name for f in schema if pa.types.is_string(f.type)]
    numbers = [f.name for f in schema if f.name not in keys]
    table = pa.concat_tables([schema.empty_table(), *tables])
    summed = table.group_by(keys).aggregate([(name, "sum") for name in numbers])
    columns = [summed[k] for k in keys] + [summed[f"{n}_sum"] for n in numbers]
    return pa.table(columns, schema=schema).sort_by([(k, "ascending") for k in keys])


def _majority(genders: pa.Table) -> dict[str, str]:
    """The gender most uses show, where at least two thirds agree."""
    uses: dict[str, dict[str, int]] = {}
    for row in genders.to_pylist():
        uses.setdefault(row["key"], {})[row["gender"]] = row["uses"]
    best = {key: max(sorted(n), key=n.__getitem__) for key, n in uses.items()}
    return {k: g for k, g in best.items() if uses[k][g] * 3 >= 2 * sum(uses[k].values())}


def _objects(column: pa.Array) -> NDArray[np.object_]:
    return np.array(column.to_pylist(), object)
