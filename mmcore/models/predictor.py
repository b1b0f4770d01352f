"""Using a trained model: lists of pictures and texts in, NumPy arrays and strings out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmcore.errors import UserError
from mmcore.models.artifact import Artifact
from mmcore.models.audio import decode_wavs
from mmcore.models.decoding import Search
from mmcore.models.fusion_model import FusionModel, normalise_pixels
from mmcore.models.images import decode_images
from mmcore.models.labels import Labels
from mmcore.models.layers import Encoded
from mmcore.models.tower import OnnxTower

Images = Sequence[bytes] | Tensor
Items = TypeVar("Items", Sequence[bytes] | Tensor, Sequence[bytes], Sequence[str])


class Predictor:
    """Runs a model in inference mode, a chunk at a time.

    Pictures are encoded bytes, or what ``decode`` returned for them, so that several tasks on the
    same pictures decode them once. ``None`` stands for a missing modality.
    """

    def __init__(self, artifact: Artifact, batch_size: int = 64) -> None:
        self._model: FusionModel = artifact.model.eval()
        self._tokenizer = artifact.tokenizer
        self.labels: Labels = artifact.labels
        self.batch_size = batch_size
        image = artifact.model.config.image
        self._tower = None if artifact.tower is None else OnnxTower(artifact.tower, image)

    @property
    def model(self) -> FusionModel:
        """The network itself, in evaluation mode."""
        return self._model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._model.token_embedding.weight.device

    def decode(self, images: Sequence[bytes]) -> Tensor:
        """Encoded pictures -> uint8 [N, 3, S, S], or a frozen tower's features of them, float16
        [N, W, G, G]; UserError names the first that fails."""
        decoded = decode_images(list(images), self._model.config.image.size)
        pixels = torch.from_numpy(decoded).permute(0, 3, 1, 2)
        return pixels if self._tower is None else self._tower.features(pixels)

    @torch.inference_mode()
    def encode_images(self, images: Images) -> NDArray[np.float32]:
        """float32 [N, E], rows of length 1."""
        rows = [self._model.embed(self._image(c), "image") for c in self._chunks(images)]
        return self._stack(rows, self._model.config.embed_dim)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [N, E], rows of length 1; similarity is the dot product with an image's."""
        rows = [self._model.embed(self._text(c), "text") for c in self._chunks(texts)]
        return self._stack(rows, self._model.config.embed_dim)

    @torch.inference_mode()
    def encode_audio(self, sounds: Sequence[bytes]) -> NDArray[np.float32]:
        """WAV files -> float32 [N, E], rows of length 1, comparable with images and texts;
        UserError for a model without audio, or where a file cannot be read."""
        config = self._model.config.audio
        if config is None:
            raise UserError(
                "This model was trained without sound: use one that has audio in its config."
            )
        rows = []
        for chunk in self._chunks(sounds):
            waveforms, lengths = decode_wavs(chunk, config.rate, config.samples)
            given = torch.from_numpy(waveforms).to(self.device)
            encoded = self._model.encode_audio(given, torch.from_numpy(lengths).to(self.device))
            rows.append(self._model.embed(encoded, "audio"))
        return self._stack(rows, self._model.config.embed_dim)

    @torch.inference_mode()
    def match(self, images: Images, texts: Sequence[str]) -> NDArray[np.float32]:
        """Probability that image i and text i belong together: float32 [N]."""
        scores = self._fused(images, texts, lambda fused: self._model.matching(fused).sigmoid())
        return scores[:, 0]

    @torch.inference_mode()
    def caption(
        self, images: Images, language: str | None = None, search: Search | None = None
    ) -> list[str]:
        """A caption for each picture, in ``language`` (default: the commonest of training); greedy
        unless ``search`` says otherwise."""
        number = self._language(language)
        texts: list[str] = []
        for chunk in self._chunks(images):
            encoded = self._image(chunk)
            asked = torch.full((len(encoded.pooled),), number, device=self.device)
            ids = self._model.write_captions(asked, encoded, search, len(texts))
            texts.extend(self._tokenizer.decode(ids.tolist()))
        return texts

    @torch.inference_mode()
    def answer(self, images: Images | None, questions: Sequence[str]) -> list[tuple[str, float]]:
        """The likeliest answer to each question and its probability; no images: a blind guess."""
        if not self.labels.answers:
            raise UserError(
                "This model was trained without questions; add qa labels and train again."
            )
        probabilities = self._fused(
            images, questions, lambda fused: self._model.answering(fused).softmax(dim=-1)
        )
        best = probabilities.argmax(axis=1)
        return [
            (self.labels.answers[b], float(p[b])) for b, p in zip(best, probabilities, strict=True)
        ]

    @torch.inference_mode()
    def write_answers(
        self, images: Images | None, questions: Sequence[str], search: Search | None = None
    ) -> list[str]:
        """An answer to each question in the decoder's own words, unlike ``answer``, which chooses
        from a list; for models trained with loss_weights.generative_vqa."""
        texts: list[str] = []
        for start, stop in self._ranges(images, questions):
            ids = self._tokenizer.encode(questions[start:stop], self._model.config.text.max_tokens)
            image = self._image_rows(images, start, stop)
            asked = torch.from_numpy(ids).to(self.device)
            written = self._model.write_answers(asked, image, search, start)
            texts.extend(self._tokenizer.decode(written.tolist()))
        return texts

    @torch.inference_mode()
    def tags(
        self, images: Images | None, texts: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """Probability of every tag in ``labels.tags``: float32 [N, V]."""
        out = self._fused(images, texts, lambda fused: self._model.tagging(fused).sigmoid())
        return out[:, : len(self.labels.tags)]

    @torch.inference_mode()
    def sentiment(
        self, images: Images | None, texts: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """Probabilities of negative, neutral, positive: float32 [N, 3]."""
        return self._fused(images, texts, lambda fused: self._model.feeling(fused).softmax(dim=-1))

    def _fused(
        self,
        images: Images | None,
        texts: Sequence[str] | None,
        head: Callable[[Tensor], Tensor],
    ) -> NDArray[np.float32]:
        """``head`` on the fused vectors of row-wise pairs, either of which may be missing."""
        rows = []
        for start, stop in self._ranges(images, texts):
            image = self._image_rows(images, start, stop)
            if texts is None:
                text = self._missing("text", stop - start)
            else:
                text = self._text(texts[start:stop])
            rows.append(head(self._model.fuse(text, image)))
        probe = self._model.fuse(self._missing("text", 1), self._missing("image", 1))
        return self._stack(rows, head(probe).shape[-1])

    def _ranges(self, images: Images | None, texts: Sequence[str] | None) -> list[tuple[int, int]]:
        """First row and end of each chunk of row-wise pairs; UserError where they are no pairs."""
        if images is None and texts is None:
            raise UserError("Give images, texts or both.")
        count = len(images) if images is not None else len(texts or ())
        if images is not None and texts is not None and len(images) != len(texts):
            raise UserError(f"There are {len(images)} images but {len(texts)} texts; pair them.")
        starts = range(0, count, self.batch_size)
        return [(start, min(start + self.batch_size, count)) for start in starts]

    def _image_rows(self, images: Images | None, start: int, stop: int) -> Encoded:
        if images is None:
            return self._missing("image", stop - start)
        return self._image(images[start:stop])

    def _missing(self, modality: str, size: int) -> Encoded:
        return self._model.missing(modality, size)

    def _image(self, images: Images) -> Encoded:
        pixels = images if isinstance(images, Tensor) else self.decode(images)
        return self._model.encode_image(normalise_pixels(pixels.to(self.device)))

    def _text(self, texts: Sequence[str]) -> Encoded:
        ids = self._tokenizer.encode(texts, self._model.config.text.max_tokens)
        return self._model.encode_text(torch.from_numpy(ids).to(self.device))

    def _chunks(self, items: Items) -> Iterator[Items]:
        for start in range(0, len(items), self.batch_size):
            yield items[start : start + self.batch_size]

    def _language(self, language: str | None) -> int:
        if language is None:
            return 0
        if language not in self.labels.languages:
            raise UserError(
                f"This model writes {', '.join(self.labels.languages)}, not {language!r}."
            )
        return self.labels.languages.index(language)

    @staticmethod
    def _stack(rows: list[Tensor], width: int) -> NDArray[np.float32]:
        if not rows:
            return np.zeros((0, width), np.float32)
        return torch.cat(rows).float().cpu().numpy()
