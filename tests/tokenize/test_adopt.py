"""A tokenizer.json of the user's own: its ids move, its tokens do not."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.implementations import BertWordPieceTokenizer, ByteLevelBPETokenizer

from mmcore.errors import UserError
from mmcore.tokenize.adopt import adopt_tokenizer, round_trip_share
from mmcore.tokenize.encode import encode_batch
from mmcore.tokenize.tokenizer import (
    EOS,
    MASK,
    SPECIAL_TOKENS,
    TokenizerSettings,
    decode,
    load_tokenizer,
    parse_tokenizer,
    train_tokenizer,
)

TEXTS = [
    f"A {c} {s}, on the {p}."
    for c in ("red", "blue", "green")
    for s in ("Circle", "dog")
    for p in ("left", "right", "table", "grass")
] * 5


def bert() -> Tokenizer:
    made = BertWordPieceTokenizer()
    made.train_from_iterator(TEXTS, vocab_size=200, show_progress=False)
    return Tokenizer.from_str(made.to_str())


def gpt2() -> Tokenizer:
    made = ByteLevelBPETokenizer()
    made.train_from_iterator(TEXTS, vocab_size=300, show_progress=False)
    made.add_special_tokens(["<|endoftext|>"])
    return Tokenizer.from_str(made.to_str())


def xlm_roberta() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=100, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    made.train_from_iterator(TEXTS, trainer)
    made.add_special_tokens(["<mask>"])
    return made


def words() -> Tokenizer:
    made = Tokenizer(models.WordLevel(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.train_from_iterator(TEXTS, trainers.WordLevelTrainer(special_tokens=["<unk>"]))
    return made


ALL: list[tuple[Callable[[], Tokenizer], dict[str, str]]] = [
    (
        bert,
        {"[PAD]": "[PAD]", "[BOS]": "[CLS]", "[EOS]": "[SEP]", "[MASK]": "[MASK]"},
    ),
    (gpt2, {"[EOS]": "<|endoftext|>"}),
    (
        xlm_roberta,
        {"[PAD]": "<pad>", "[BOS]": "<s>", "[EOS]": "</s>", "[MASK]": "<mask>"},
    ),
    (words, {}),
]


@pytest.mark.parametrize(("make", "renamed"), ALL)
def test_texts_have_the_same_tokens_as_before(
    make: Callable[[], Tokenizer], renamed: dict[str, str]
) -> None:
    given = make()
    adopted = adopt_tokenizer(given.to_str().encode(), 1000, "mine.json")
    ours = load_tokenizer(adopted.data)
    assert adopted.renamed == renamed
    assert ours.get_vocab_size() == given.get_vocab_size() + 4 - len(renamed)
    assert sorted(ours.get_vocab().values()) == list(range(ours.get_vocab_size()))
    for text in TEXTS:
        before = given.encode(text, add_special_tokens=False).tokens
        assert ours.encode(text, add_special_tokens=False).tokens == before


@pytest.mark.parametrize(("make", "renamed"), ALL)
def test_a_page_cannot_write_a_special_token(
    make: Callable[[], Tokenizer], renamed: dict[str, str]
) -> None:
    ours = load_tokenizer(adopt_tokenizer(make().to_str().encode(), 1000, "mine.json").data)
    texts = [" ".join(SPECIAL_TOKENS), "a[EOS]b", *SPECIAL_TOKENS, *renamed.values()]
    assert encode_batch(ours, texts).ids.min() > MASK


def test_ids_decode_and_stop_at_the_renamed_end_token() -> None:
    ours = load_tokenizer(adopt_tokenizer(gpt2().to_str().encode(), 1000, "mine.json").data)
    ids = encode_batch(ours, ["A red Circle"]).ids.tolist()
    assert decode(ours, [*ids, EOS, *ids]) == "A red Circle"


def test_a_tokenizer_of_our_own_stays_as_it_is() -> None:
    data = train_tokenizer([TEXTS], TokenizerSettings(vocab_size=300))
    adopted = adopt_tokenizer(data, 300, "mine.json")
    before, after = parse_tokenizer(data), parse_tokenizer(adopted.data)
    assert json.loads(after.to_str()) == json.loads(before.to_str())


def test_how_much_comes_back_is_measured_not_promised() -> None:
    lossless = load_tokenizer(adopt_tokenizer(gpt2().to_str().encode(), 1000, "g").data)
    lossy = load_tokenizer(adopt_tokenizer(words().to_str().encode(), 1000, "w").data)
    texts = ["A red dog", "☃ unheard of"]
    assert round_trip_share(lossless, texts) == 1.0
    assert round_trip_share(lossy, texts) < 1.0


def test_what_cannot_be_used_says_what_to_change() -> None:
    with pytest.raises(UserError, match=r"mine.json holds no tokenizer.json.*leave tokenize.file"):
        adopt_tokenizer(b"{}", 1000, "mine.json")
    with pytest.raises(UserError, match=r"has \d+ tokens.*vocab_size allows 260: raise it to \d+"):
        adopt_tokenizer(gpt2().to_str().encode(), 260, "mine.json")
