"""The closed vocabularies of a model: what its answer, tag, sentiment and caption heads can say."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

SENTIMENTS = ("negative", "neutral", "positive")
UNKNOWN_LANGUAGE = "und"  # ISO 639: undetermined


class Labels(BaseModel):
    """Names of the classes, in the order of the head's outputs.

    ``languages``: languages of the training captions, commonest first; captions are written in
    the first unless asked otherwise. ``writes_answers``: whether the decoder was taught to write
    the answers (loss_weights.generative_vqa); of older models it is not known, and False.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    answers: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    sentiment: tuple[str, ...] = SENTIMENTS
    languages: tuple[str, ...] = (UNKNOWN_LANGUAGE,)
    writes_answers: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("answers", "tags", "languages"):
            names = getattr(self, name)
            if len(set(names)) != len(names):
                raise ValueError(f"{name} holds a name twice")
        if self.sentiment != SENTIMENTS:
            raise ValueError(f"sentiment must be {', '.join(SENTIMENTS)}")
        if not self.languages:
            raise ValueError("languages is empty")
        return self
