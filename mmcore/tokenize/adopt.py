"""A tokenizer.json from elsewhere, made to fit: its special tokens become ours, at ids 0 to 3.

Models frame texts with `[BOS]` and `[EOS]` and pad with `[PAD]`, wherever a tokenizer comes from.
What plays those parts in the given file is renamed and moved to the front, what is missing is
added, all other tokens keep their order. Merges, scores and normalization stay as they are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from mmcore.errors import UserError
from mmcore.tokenize.tokenizer import (
    MASK,
    SPECIAL_TOKENS,
    decode,
    load_tokenizer,
    normalise,
    parse_tokenizer,
)

# How BERT, RoBERTa and XLM-R, CLIP, GPT-2 and the Llama family name them, most likely first.
_NAMES = {
    "[PAD]": ("[PAD]", "<pad>", "<|pad|>", "<|padding|>", "<|finetune_right_pad_id|>"),
    "[BOS]": ("[BOS]", "[CLS]", "<s>", "<bos>", "<|startoftext|>", "<|begin_of_text|>"),
    "[EOS]": ("[EOS]", "[SEP]", "</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>"),
    "[MASK]": ("[MASK]", "<mask>"),
}
_MODELS = ("BPE", "WordPiece", "WordLevel", "Unigram")
# A unigram piece with this score is never the likeliest reading of a text.
_NEVER = -1e6


@dataclass(frozen=True)
class Adopted:
    """A tokenizer.json that `load_tokenizer` takes, and what it was called before."""

    data: bytes
    renamed: dict[str, str]
    """Our special token to the given file's name of it; those that were added are missing."""


def adopt_tokenizer(data: bytes, vocab_size: int, name: str) -> Adopted:
    """The tokenizer in `data` with our special tokens; `name` is what errors call the file.

    UserError where it is no tokenizer.json or has more than `vocab_size` tokens.
    """
    try:
        given = parse_tokenizer(data)
    except UserError:
        raise UserError(
            f"tokenize.file: {name} holds no tokenizer.json of the tokenizers library; "
            "leave tokenize.file out to train one"
        ) from None
    body = json.loads(given.to_str())
    if body["model"]["type"] not in _MODELS:
        raise UserError(
            f"tokenize.file: {name} has a model of type {body['model']['type']}; "
            f"use one of {', '.join(_MODELS)}"
        )
    vocabulary = given.get_vocab(with_added_tokens=True)
    renamed = _parts_played(vocabulary)
    order = _new_order(vocabulary, renamed)
    if len(order) > vocab_size:
        raise UserError(
            f"tokenize.file: {name} has {len(order)} tokens with {', '.join(SPECIAL_TOKENS)}, but "
            f"tokenize.vocab_size allows {vocab_size}: raise it to {len(order)} or more"
        )
    rewritten = _rewritten(body, order, renamed)
    if _takes_words_for_special(load_tokenizer(_dump(rewritten))):
        rewritten["pre_tokenizer"] = _guarded(rewritten["pre_tokenizer"])
    return Adopted(_dump(rewritten), renamed)


def round_trip_share(tokenizer: Tokenizer, texts: list[str]) -> float:
    """Share of texts that decode to what they were, but for normalization; 1 for an empty list."""
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    pairs = zip(texts, encoded, strict=True)
    good = sum(decode(tokenizer, e.ids).strip() == _plain(tokenizer, t) for t, e in pairs)
    return good / len(texts) if texts else 1.0


def _plain(tokenizer: Tokenizer, text: str) -> str:
    return (normalise(tokenizer, text) if tokenizer.normalizer else text).strip()


def _parts_played(vocabulary: dict[str, int]) -> dict[str, str]:
    found = {
        ours: next((name for name in names if name in vocabulary), None)
        for ours, names in _NAMES.items()
    }
    return {ours: name for ours, name in found.items() if name is not None}


def _new_order(vocabulary: dict[str, int], renamed: dict[str, str]) -> dict[str, int]:
    """Token, by its given name or ours where it is added, to its new id."""
    front = [renamed.get(token, token) for token in SPECIAL_TOKENS]
    rest = sorted(set(vocabulary) - set(front), key=lambda token: (vocabulary[token], token))
    return {token: number for number, token in enumerate([*front, *rest])}


def _rewritten(
    body: dict[str, Any], order: dict[str, int], renamed: dict[str, str]
) -> dict[str, Any]:
    ours = {name: token for token, name in renamed.items()}
    model = dict(body["model"])
    if model["type"] == "Unigram":
        model["vocab"], model["unk_id"] = _moved_pieces(model, order, ours)
    else:
        # added tokens go into the vocabulary too: only there does the library keep their ids
        model["vocab"] = {ours.get(token, token): number for token, number in order.items()}
        if model.get("unk_token") in ours:
            model["unk_token"] = ours[model["unk_token"]]
    special = [_added_token(number, token) for number, token in enumerate(SPECIAL_TOKENS)]
    front = {renamed.get(token, token) for token in SPECIAL_TOKENS}
    others = [
        entry | {"id": order[entry["content"]]}
        for entry in body["added_tokens"]
        if entry["content"] not in front
    ]
    added = sorted([*special, *others], key=lambda entry: entry["id"])
    # framing, padding and cutting are the models' business
    unframed = {"post_processor": None, "padding": None, "truncation": None}
    return body | unframed | {"model": model, "added_tokens": added}


def _moved_pieces(
    model: dict[str, Any], order: dict[str, int], ours: dict[str, str]
) -> tuple[list[list[Any]], int | None]:
    scores = dict(map(tuple, model["vocab"]))
    pieces = [
        [ours.get(token, token), scores.get(token, _NEVER) if number > MASK else _NEVER]
        for token, number in order.items()
    ]
    unknown = model.get("unk_id")
    return pieces, None if unknown is None else order[model["vocab"][unknown][0]]


def _added_token(number: int, token: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": token, "special": True} | flags


def _takes_words_for_special(tokenizer: Tokenizer) -> bool:
    """Whether a page that writes "[EOS]" gets a special token for it."""
    texts = [" ".join(SPECIAL_TOKENS), *SPECIAL_TOKENS, *(f"a{t}b" for t in SPECIAL_TOKENS)]
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    return any(number <= MASK for encoding in encoded for number in encoding.ids)


def _guarded(pre_tokenizer: dict[str, Any] | None) -> dict[str, Any]:
    """A pre-tokenizer that first cuts the bracket off what looks like a special token."""
    words = "|".join(token.strip("[]") for token in SPECIAL_TOKENS)
    cut = {
        "type": "Split",
        "pattern": {"Regex": rf"\[(?=(?:{words})\])"},
        "behavior": "Isolated",
        "invert": False,
    }
    steps = [cut] if pre_tokenizer is None else [cut, pre_tokenizer]
    return {"type": "Sequence", "pretokenizers": steps}


def _dump(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
