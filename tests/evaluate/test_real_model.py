"""The evaluation of a real network, from its files to the gate."""

from __future__ import annotations

import json

import pytest

from mmcore.evaluate.stage import Config, run
from mmcore.registry import Gate, decide
from tests.evaluate.colours import Square, write_shards

DAY = "2026-01-01"


def _untrained_files() -> dict[str, bytes]:
    """A nano model as training would write it, with random weights."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from mmcore.models import load_preset
    from mmcore.models.artifact import artifact_files
    from mmcore.models.config import SPECIAL_TOKENS
    from mmcore.models.fusion_model import FusionModel
    from mmcore.models.labels import Labels
    from mmcore.models.text import TextTokenizer

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet
    )
    raw.train_from_iterator([Square(n).caption for n in range(8)], trainer)
    tokenizer = TextTokenizer(raw.to_str())
    labels = Labels(answers=("red", "left"), tags=("red", "left", "right"), languages=("en",))
    config = load_preset("nano", vocab_size=tokenizer.size, answers=2, tags=3)
    torch.manual_seed(0)
    return artifact_files(FusionModel(config).state_dict(), config, labels, tokenizer)


@pytest.mark.usefixtures("ray_session")
def test_untrained_model_is_scored_on_every_task_and_refused_by_the_gate(lake):
    writer = lake.writer("candidate", DAY, format="files")
    files = _untrained_files()
    writer.commit([writer.write_file(name, data) for name, data in files.items()], [], {})
    write_shards(lake, DAY, [Square(n).sample("test") for n in range(24)])
    evaluation = run(lake, DAY, Config(replicates=200, tasks=1, max_caption_images=20))
    scores = json.loads(evaluation.read_file("scores.json"))
    assert list(scores["tasks"]) == ["retrieval", "caption", "vqa", "tags", "sentiment"]
    assert all(0 <= entry["images"] <= 24 for entry in scores["tasks"].values())
    decision = decide(scores, Gate())
    assert not decision.passed
    assert {f.task for f in decision.findings if not f.passed} >= {"caption", "retrieval"}
