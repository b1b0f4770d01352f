"""Audio encoders: waveforms [B, S] -> log-mel spectrogram -> tokens in time [B, N, W].

``cnn``: strided 3x3 convolutions over time and pitch; ``transformer``: convolutions over time,
positions and blocks, as Whisper's encoder (arXiv:2212.04356).
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcore.models.config import AudioEncoderConfig
from mmcore.models.layers import TransformerBlock, learned


class LogMel(nn.Module):
    """Waveforms in -1..1 [B, S] -> [B, frames, mels], about -1..1; frames = S / hop.

    80 dB below a clip's loudest sound and less is silence.
    """

    def __init__(self, config: AudioEncoderConfig) -> None:
        super().__init__()
        self.window_size, self.hop = config.window, config.hop
        filters = mel_filters(config.rate, config.window, config.mels)
        self.register_buffer("window", torch.hann_window(config.window), persistent=False)
        self.register_buffer("filters", filters, persistent=False)
        self.window: Tensor
        self.filters: Tensor

    def forward(self, waveforms: Tensor) -> Tensor:
        with torch.autocast(waveforms.device.type, enabled=False):
            spectrum = torch.stft(
                waveforms.float(),
                self.window_size,
                self.hop,
                window=self.window,
                return_complex=True,
            )
            power = spectrum[..., :-1].abs().square()  # the last frame is beyond the end
            loudness = (self.filters @ power).clamp_min(1e-10).log10()
            loudest = loudness.amax(dim=(1, 2), keepdim=True)
            return ((torch.maximum(loudness, loudest - 8) + 4) / 4).transpose(1, 2)


def mel_filters(rate: int, window: int, mels: int) -> Tensor:
    """Triangles that are evenly spaced on the mel scale (HTK's): [mels, window // 2 + 1]."""
    frequencies = torch.linspace(0, rate / 2, window // 2 + 1, dtype=torch.float64)
    highest = 2595 * torch.log10(torch.tensor(1 + rate / 2 / 700, dtype=torch.float64))
    edges = 700 * (10 ** (torch.linspace(0, 1, mels + 2, dtype=torch.float64) * highest / 2595) - 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (frequencies - low) / (middle - low)
    falling = (high - frequencies) / (high - middle)
    return torch.minimum(rising, falling).clamp_min(0).float()


class CnnAudioEncoder(nn.Module):
    """Each width halves time and pitch; what is left of the pitch becomes channels, because a
    high sound is another sound."""

    def __init__(self, config: AudioEncoderConfig) -> None:
        super().__init__()
        widths = (1, *config.widths)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in itertools.pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in config.widths)
        bands = config.mels // config.stride
        self.join = nn.Linear(bands * config.widths[-1], config.widths[-1])
        self.norm = nn.LayerNorm(config.widths[-1])

    def forward(self, spectrogram: Tensor, mask: Tensor) -> Tensor:
        """[B, frames, mels] and mask [B, N] -> [B, N, W]."""
        x = spectrogram[:, None]
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = conv(x).permute(0, 2, 3, 1)
            x = F.gelu(norm(x)).permute(0, 3, 1, 2)
        return self.norm(self.join(x.permute(0, 2, 3, 1).flatten(2)))  # bands and channels joined


class TransformerAudioEncoder(nn.Module):
    """Strided convolutions over time, learned positions, bidirectional transformer blocks."""

    def __init__(self, config: AudioEncoderConfig, dropout: float) -> None:
        super().__init__()
        widths = (config.mels, *config.widths)
        self.convs = nn.ModuleList(nn.Conv1d(a, b, 3, 2, 1) for a, b in itertools.pairwise(widths))
        width = config.widths[-1]
        self.position = learned(config.tokens, width)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, config.heads, dropout=dropout) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, spectrogram: Tensor, mask: Tensor) -> Tensor:
        """[B, frames, mels] and mask [B, N] -> [B, N, W]."""
        x = spectrogram.transpose(1, 2)
        for conv in self.convs:
            x = F.gelu(conv(x))
        x = x.transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)


class AudioEncoder(nn.Module):
    """Spectrogram and tower."""

    def __init__(self, config: AudioEncoderConfig, dropout: float) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMel(config)
        self.tower: nn.Module = (
            CnnAudioEncoder(config)
            if config.kind == "cnn"
            else TransformerAudioEncoder(config, dropout)
        )

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms [B, S] of which the first lengths [B] samples are sound -> tokens [B, N, W]
        and which of them hear any of it, bool [B, N]."""
        samples_each = self.config.hop * self.config.stride
        starts = torch.arange(self.config.tokens, device=waveforms.device) * samples_each
        mask = starts < lengths.clamp_min(1)[:, None]
        return self.tower(self.log_mel(waveforms), mask), mask
