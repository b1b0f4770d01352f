"""Encoded sound to the fixed-length waveforms that models read."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmcore.errors import UserError

_MAX_SECONDS = 3600


def decode_wav(data: bytes, rate: int) -> NDArray[np.float32]:
    """One WAV file (PCM of 8, 16, 24 or 32 bits, any channels and rate) -> float32 [samples] in
    -1..1, mono, at ``rate`` samples a second. UserError if it is something else."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            channels, width, own_rate, frames = file.getparams()[:4]
            if frames > _MAX_SECONDS * own_rate:
                raise UserError(f"This sound is longer than {_MAX_SECONDS} seconds; cut it.")
            raw = file.readframes(frames)
    except (wave.Error, EOFError, ValueError) as error:
        reason = str(error) or "it ends too early"
        raise UserError(f"This is not a WAV file of plain samples (PCM): {reason}.") from None
    whole = len(raw) // (channels * width) * channels * width
    sound = _samples(raw[:whole], width).reshape(-1, channels).mean(axis=1)
    if not len(sound):
        raise UserError("This sound is empty.")
    return resample(sound, own_rate, rate)


def decode_wavs(
    sounds: Sequence[bytes], rate: int, most: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """WAV files -> float32 [N, most], cut or filled with silence, and the samples in use, [N];
    UserError names the first that fails."""
    out, lengths = np.zeros((len(sounds), most), np.float32), np.zeros(len(sounds), np.int64)
    for number, data in enumerate(sounds):
        try:
            sound = decode_wav(data, rate)[:most]
        except UserError as error:
            raise UserError(f"Sound {number}: {error}") from None
        out[number, : len(sound)] = sound
        lengths[number] = len(sound)
    return out, lengths


def resample(sound: NDArray[np.float32], rate: int, to: int) -> NDArray[np.float32]:
    """float32 [n] at ``rate`` -> about n * to / rate samples; frequencies that do not fit go."""
    if rate == to:
        return sound
    count = max(1, round(len(sound) * to / rate))
    spectrum = np.fft.rfft(sound)[: count // 2 + 1]
    return (np.fft.irfft(spectrum, count) * (count / len(sound))).astype(np.float32)


def _samples(raw: bytes, width: int) -> NDArray[np.float32]:
    """Little-endian PCM of ``width`` bytes -> float32 in -1..1."""
    if width == 1:
        return np.frombuffer(raw, np.uint8).astype(np.float32) / np.float32(128) - np.float32(1)
    if width == 3:
        three = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(three), 4), np.uint8)
        wide[:, 1:] = three  # the low byte stays 0
        return wide.view("<i4")[:, 0].astype(np.float32) * np.float32(2.0**-31)
    if width not in (2, 4):
        raise UserError(f"This WAV file has samples of {8 * width} bits; 8, 16, 24, 32 are read.")
    return np.frombuffer(raw, f"<i{width}").astype(np.float32) * np.float32(2.0 ** (1 - 8 * width))
