"""Sound as a third modality: it is read, it learns to find texts and pictures, it is saved."""

from __future__ import annotations

import io
import itertools
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mmcore.errors import UserError
from mmcore.models import load_model
from mmcore.models.artifact import Artifact, save_artifact
from mmcore.models.audio import decode_wav, decode_wavs, resample
from mmcore.models.audio_encoder import LogMel
from mmcore.models.config import AudioEncoderConfig
from mmcore.models.fusion_model import FusionModel, normalise_pixels
from mmcore.models.layers import Encoded
from mmcore.models.predictor import Predictor
from mmcore.train.contrastive import contrastive_sum
from mmcore.train.ranks import Ranks
from tests.models import tiny

RATE = 8000
AUDIO = {"rate": RATE, "seconds": 0.64, "window": 256, "hop": 80, "mels": 32, "widths": (16, 32)}
# What is heard for each colour, as a voice says a name: two gliding syllables, from Hz to Hz.
NAMES = {"red": ((300, 700), (900, 900)), "green": ((900, 400), (500, 1200)),
         "blue": ((1500, 1500), (1200, 600))}  # fmt: skip
# and a tone that says where
PLACES = {"left": 2200, "right": 3100}
KINDS = list(itertools.product(tiny.COLOURS, tiny.PLACES))


def _glide(start: float, end: float, seconds: float) -> NDArray[np.float64]:
    """A harmonic glide with soft edges."""
    time = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(np.linspace(start, end, len(time))) / RATE
    edges = np.minimum(1, np.minimum(time, seconds - time) / 0.02)
    return edges * (np.sin(phase) + 0.4 * np.sin(2 * phase))


def _said(colour: str, place: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """The name and the tone, at another pitch, pace, loudness and start each time."""
    pitch, pace = rng.uniform(0.94, 1.06), rng.uniform(0.85, 1.15)
    parts = [_glide(a * pitch, b * pitch, 0.14 * pace) for a, b in NAMES[colour]]
    parts.append(_glide(PLACES[place] * pitch, PLACES[place] * pitch, 0.12 * pace))
    sound = np.concatenate([np.zeros(int(rng.uniform(0, 0.08) * RATE)), *parts])
    return rng.uniform(0.05, 0.4) * sound + rng.normal(0, 0.004, len(sound))


def _wav(sound: NDArray[np.float64], rate: int = RATE, width: int = 2, channels: int = 1) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        levels = np.round(sound * (2 ** (8 * width - 1) - 1)).astype("<i8")
        if width == 1:
            levels = levels + 128
        raw = levels[:, None].repeat(channels, axis=1).astype("<i8").view(np.uint8)
        file.writeframes(raw.reshape(-1, 8)[:, :width].tobytes())
    return out.getvalue()


def _clips(rng: np.random.Generator) -> list[bytes]:
    return [_wav(_said(*kind, rng)) for kind in KINDS]


def _train(model: FusionModel, steps: int) -> None:
    """Pull each sound to its text and its picture."""
    rng, config = np.random.default_rng(0), model.config.audio
    assert config is not None
    predictor = Predictor(Artifact(model, tiny.LABELS, tiny.tokenizer()))
    pictures = predictor.decode([tiny.picture(*kind) for kind in KINDS])
    texts = tiny.tokenizer().encode([f"a {c} square on the {p}" for c, p in KINDS], 16)
    rows, weight, ranks = torch.arange(len(KINDS)), torch.ones(len(KINDS)), Ranks()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    model.train()
    for step in range(steps):
        rise, fall = (step + 1) / 20, (steps - step) / (0.7 * steps)
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, rise, fall)
        waveforms, lengths = decode_wavs(_clips(rng), RATE, config.samples)
        audio = model.encode_audio(torch.from_numpy(waveforms), torch.from_numpy(lengths))
        heard = model.embed(audio, "audio")
        loss = heard.new_zeros(())
        for modality, encoded in (
            ("text", model.encode_text(torch.from_numpy(texts))),
            ("image", model.encode_image(normalise_pixels(pictures))),
        ):
            other, scale = model.embed(encoded, modality), model.retrieval.scale
            loss = loss + contrastive_sum(heard, other, scale, weight, rows, rows, ranks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


@pytest.mark.parametrize("kind", ["cnn", "transformer"])
def test_a_sound_that_was_never_heard_finds_its_text_and_its_picture(kind: str) -> None:
    model = tiny.model(audio={**AUDIO, "kind": kind})
    _train(model, 180)
    predictor = Predictor(Artifact(model, tiny.LABELS, tiny.tokenizer()))
    sounds = [clip for seed in range(100, 108) for clip in _clips(np.random.default_rng(seed))]
    heard, right = predictor.encode_audio(sounds), np.arange(len(sounds)) % len(KINDS)
    texts = predictor.encode_texts([f"a {c} square on the {p}" for c, p in KINDS])
    pictures = predictor.encode_images([tiny.picture(*kind) for kind in KINDS])
    for others in (texts, pictures):
        found = (heard @ others.T).argmax(axis=1)
        assert (found == right).mean() > 0.85  # by chance 0.17
        back = (others @ heard.T).argmax(axis=1) % len(KINDS)
        assert (back == np.arange(len(KINDS))).mean() > 0.8


def test_a_model_with_sound_is_saved_and_loaded(tmp_path: Path) -> None:
    artifact = tiny.artifact(audio=AUDIO)
    save_artifact(tmp_path, artifact)
    clips = _clips(np.random.default_rng(1))
    expected = Predictor(artifact).encode_audio(clips)
    np.testing.assert_array_equal(load_model(tmp_path).encode_audio(clips), expected)
    assert expected.shape == (6, 16)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-5)


@torch.no_grad()
def test_sound_is_a_context_for_fusion_and_decoder_like_an_image() -> None:
    model = tiny.model(audio=AUDIO).eval()
    waveforms, lengths = decode_wavs(_clips(np.random.default_rng(2)), RATE, 5120)
    audio = model.encode_audio(torch.from_numpy(waveforms), torch.from_numpy(lengths))
    text = model.encode_text(torch.from_numpy(tiny.tokenizer().encode(["where?"] * 6, 16)))
    assert model.answering(model.fuse(text, audio)).shape == (6, len(tiny.LABELS.answers))
    assert len(model.write_captions(torch.zeros(6, dtype=torch.long), audio)) == 6


@torch.no_grad()
def test_silence_behind_a_sound_is_not_heard() -> None:
    model = tiny.model(audio={**AUDIO, "kind": "transformer"}).eval()
    waveforms, lengths = decode_wavs([_wav(_glide(500, 900, 0.2))], RATE, 5120)
    short = model.encode_audio(torch.from_numpy(waveforms), torch.from_numpy(lengths))
    assert int(short.mask.sum()) == 5 and short.mask.shape == (1, 16)  # type: ignore[union-attr]
    louder = Encoded(
        torch.where(short.mask[..., None], short.tokens, 9.0), short.mask, short.pooled
    )  # type: ignore[index]
    text = model.encode_text(torch.from_numpy(tiny.tokenizer().encode(["where?"], 16)))
    assert model.fuse(text, short).equal(model.fuse(text, louder))


@pytest.mark.parametrize(("width", "channels"), [(1, 1), (2, 2), (3, 1), (4, 2)])
def test_every_kind_of_pcm_is_read(width: int, channels: int) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE // 4) / RATE)
    read = decode_wav(_wav(tone, RATE, width, channels), RATE)
    np.testing.assert_allclose(read, tone, atol=0.02 if width == 1 else 1e-3)


def test_resampling_keeps_a_tone_and_drops_what_does_not_fit() -> None:
    time = np.arange(16000) / 16000
    both = np.sin(2 * np.pi * 440 * time) + np.sin(2 * np.pi * 6000 * time)
    found = resample(both.astype(np.float32), 16000, 8000)
    np.testing.assert_allclose(found, np.sin(2 * np.pi * 440 * np.arange(8000) / 8000), atol=1e-3)


def test_a_tone_stands_in_its_place_of_the_spectrogram() -> None:
    log_mel = LogMel(AudioEncoderConfig.model_validate(AUDIO))
    tones = [torch.from_numpy(_glide(hz, hz, 0.64)).float() for hz in (300, 1000, 3000)]
    loudest = log_mel(torch.stack(tones)).mean(dim=1).argmax(dim=1)
    mel = [2595 * np.log10(1 + hz / 700) for hz in (300, 1000, 3000)]
    expected = [m / (2595 * np.log10(1 + 4000 / 700)) * 33 - 1 for m in mel]
    np.testing.assert_allclose(loudest, expected, atol=1.0)


def test_what_is_no_sound_is_refused() -> None:
    with pytest.raises(UserError, match="Sound 1: This is not a WAV file"):
        decode_wavs([_wav(np.zeros(100)), b"RIFF but not a sound"], RATE, 5120)
    with pytest.raises(UserError, match="empty"):
        decode_wav(_wav(np.zeros(0)), RATE)
    with pytest.raises(UserError, match="without sound"):
        Predictor(tiny.artifact()).encode_audio([_wav(np.zeros(100))])
    with pytest.raises(UserError, match="no audio encoder"):
        tiny.model().encode_audio(torch.zeros(1, 5120), torch.ones(1))
