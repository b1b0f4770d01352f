"""open_clip's CLIP and CoCa, built from mmcore's layers: the same weights, losses and gradients.

What differs is what is left out because nothing depends on it, and no number is rounded otherwise:

- places behind the end of a caption: attention is causal and texts are read at their end, so
  neither the loss nor a gradient knows of them (`mmcore.models.attention.Packing`);
- in the last block of a tower that is read at one place, everything but keys and values of the
  other places;
- CoCa's logits where no word follows, which its loss ignores.

open_clip 3.3.0: `CLIP`, `CoCa` (with its usual attentional pooling and the class token's mask as
published weights have it), exact GELU, no dropout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcore.models.attention import FEW_SHAPES, Packing, attend, packed, padded
from mmcore.models.layers import CrossAttention, Mlp, TransformerBlock, full_precision
from mmcore.train.contrastive import contrastive_sum
from mmcore.train.ranks import Ranks

VOCABULARY = 49408
CAPTION_WEIGHT = 2.0  # open_clip's --coca-caption-loss-weight


@dataclass(frozen=True)
class Size:
    """One width and depth for all parts, as small models have it; heads of 64 channels."""

    pixels: int
    patch: int
    width: int
    depth: int
    context: int = 77
    queries: int = 256  # of CoCa's attentional pooling

    @property
    def heads(self) -> int:
        return max(1, self.width // 64)


class ImageTower(nn.Module):
    """Patches, a class token, pre-norm blocks."""

    def __init__(self, size: Size, attentional: bool) -> None:
        super().__init__()
        width = size.width
        self.conv1 = nn.Conv2d(3, width, size.patch, size.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        tokens = (size.pixels // size.patch) ** 2 + 1
        self.positional_embedding = nn.Parameter(torch.empty(tokens, width))
        self.ln_pre = nn.LayerNorm(width)
        self.blocks = blocks(size)
        self.attn_pool = Pooler(width, size.queries) if attentional else None
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, width))

    def embedded(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, 1 + patches, D]."""
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(pixels), 1, -1).to(patches.dtype)
        return self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding)

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> unit vectors [B, D], read at the class token."""
        x = self.embedded(pixels)
        for block in self.blocks[:-1]:
            x = block(x)
        places = torch.arange(len(x), device=x.device) * x.shape[1]
        x = read(self.blocks[-1], x.flatten(0, 1), places, None, x.shape[:2])
        return F.normalize(full_precision(self.ln_post(x) @ self.proj), dim=-1)

    def pooled(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, S, S] -> unit vectors [B, D] and tokens for the decoder [B, queries - 1, D]."""
        assert self.attn_pool is not None
        x = self.embedded(pixels)
        for block in self.blocks:
            x = block(x)
        x = self.ln_post(self.attn_pool(x))
        return F.normalize(full_precision(x[:, 0] @ self.proj), dim=-1), x[:, 1:]


class Pooler(nn.Module):
    """Learned queries look at the tokens; they are the same for every picture."""

    def __init__(self, width: int, queries: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(queries, width))
        self.attn = CrossAttention(width, 8)
        self.ln_q = nn.LayerNorm(width)
        self.ln_k = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.attn(self.ln_q(self.query)[None], self.ln_k(x))


class Clip(nn.Module):
    """Contrastive only. Texts end with the largest token id."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.visual = ImageTower(size, attentional=False)
        self.token_embedding = nn.Embedding(VOCABULARY, size.width)
        self.positional_embedding = nn.Parameter(torch.empty(size.context, size.width))
        self.blocks = blocks(size)
        self.ln_final = nn.LayerNorm(size.width)
        self.text_projection = nn.Parameter(torch.empty(size.width, size.width))
        self.logit_scale = nn.Parameter(torch.empty(()))

    def loss(self, pixels: Tensor, ids: Tensor) -> Tensor:
        """Pixels [B, 3, S, S] and token ids [B, context] -> a scalar."""
        return contrastive(self.visual(pixels), self.encode_text(ids), self.logit_scale)

    def encode_text(self, ids: Tensor) -> Tensor:
        """-> unit vectors [B, D]."""
        lengths = ids.argmax(dim=-1) + 1
        mask = places_below(lengths)
        packing = Packing.of(mask, FEW_SHAPES)
        x = embedded(ids, packing, self.token_embedding.weight, self.positional_embedding)
        for block in self.blocks[:-1]:
            x = block(x, None, True, packing=packing)
        ends = lengths.cumsum(0) - 1
        x = self.ln_final(read(self.blocks[-1], x, ends, mask, packing))
        return F.normalize(full_precision(x @ self.text_projection), dim=-1)


class TextWithClass(nn.Module):
    """CoCa's text tower: a class token behind the text sums it up."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.context = size.context
        self.token_embedding = nn.Embedding(VOCABULARY, size.width)
        self.cls_emb = nn.Parameter(torch.empty(size.width))
        self.positional_embedding = nn.Parameter(torch.empty(size.context + 1, size.width))
        self.blocks = blocks(size)
        self.ln_final = nn.LayerNorm(size.width)
        self.text_projection = nn.Parameter(torch.empty(size.width, size.width))

    def forward(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Packing]:
        """ids [B, T], of which lengths [B] are text -> unit vectors [B, D], and the states
        [P, D] of tokens that another follows (and of some padding), with their places."""
        # the class token sees the text and the place behind it, but not itself unless there is none
        seen = torch.clamp(lengths + 1, max=self.context)
        mask = places_below(seen + 1)
        is_class = mask & ~places_below(seen, mask.shape[1])
        packing, keys = Packing.of(mask, FEW_SHAPES), places_below(lengths + 1, mask.shape[1])
        ends = is_class.flatten()[packing.places]
        shown = F.pad(ids, (0, 1))[:, : mask.shape[1]].flatten()[packing.places]
        position = torch.where(ends, self.context, packing.places % packing.length)
        x = F.embedding(shown, self.token_embedding.weight)
        x = torch.where(ends[:, None], self.cls_emb, x)
        x = x + F.embedding(position, self.positional_embedding)
        for block in self.blocks:
            x = block(x, keys, True, packing=packing)
        text = F.normalize(full_precision(self.ln_final(x[ends]) @ self.text_projection), dim=-1)
        followed = Packing.of(places_below(lengths - 1), FEW_SHAPES)
        return text, packed(padded(x, packing)[:, : followed.length], followed), followed


class CrossBlock(nn.Module):
    """Cross-attention and an MLP, pre-norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_1_kv = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = CrossAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor, context: Tensor, packing: Packing) -> Tensor:
        x = x + self.attn(self.ln_1(x), self.ln_1_kv(context), packing=packing)
        return x + self.mlp(self.ln_2(x))


class Decoder(nn.Module):
    """Blocks of self-attention and of cross-attention in turn."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.blocks = blocks(size)
        self.cross = nn.ModuleList(CrossBlock(size.width, size.heads) for _ in range(size.depth))
        self.ln_final = nn.LayerNorm(size.width)
        self.text_projection = nn.Parameter(torch.empty(size.width, VOCABULARY))

    def forward(self, image: Tensor, x: Tensor, packing: Packing) -> Tensor:
        """image [B, N, D], packed states [P, D] -> logits [P, V]."""
        for block, cross in zip(self.blocks, self.cross, strict=True):
            x = cross(block(x, None, True, packing=packing), image, packing)
        return self.ln_final(x) @ self.text_projection


class CoCa(nn.Module):
    """Contrastive and captioning. Padding is 0."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.visual = ImageTower(size, attentional=True)
        self.text = TextWithClass(size)
        self.text_decoder = Decoder(size)
        self.logit_scale = nn.Parameter(torch.empty(()))

    def loss(self, pixels: Tensor, ids: Tensor) -> Tensor:
        """Pixels [B, 3, S, S] and token ids [B, context] -> a scalar."""
        lengths = (ids != 0).sum(dim=1)
        image, tokens = self.visual.pooled(pixels)
        text, states, packing = self.text(ids, lengths)
        logits = self.text_decoder(tokens, states, packing)
        following = ids[:, 1 : packing.length + 1].flatten()[packing.places]
        captions = F.cross_entropy(full_precision(logits), following, ignore_index=0)
        return contrastive(image, text, self.logit_scale) + CAPTION_WEIGHT * captions


def blocks(size: Size) -> nn.ModuleList:
    return nn.ModuleList(TransformerBlock(size.width, size.heads) for _ in range(size.depth))


def places_below(lengths: Tensor, width: int | None = None) -> Tensor:
    """Lengths [B] -> bool [B, width or the longest], True at the first places of each row."""
    longest = int(lengths.max()) if width is None else width
    return torch.arange(longest, device=lengths.device) < lengths[:, None]


def embedded(ids: Tensor, packing: Packing, table: Tensor, positions: Tensor) -> Tensor:
    """The packed tokens of ids [B, T], with their positions -> [P, D]."""
    tokens = ids[:, : packing.length].flatten()[packing.places]
    place = packing.places % packing.length
    return F.embedding(tokens, table) + F.embedding(place, positions)


def read(
    block: Any,  # a TransformerBlock, which a ModuleList does not know
    x: Tensor,
    places: Tensor,
    mask: Tensor | None,
    layout: Packing | torch.Size,
) -> Tensor:
    """A block where only one place of each row is read: tokens [P, D], places [B] -> [B, D].

    layout: of the rows; mask [B, N]: what the place sees.
    """
    attention, width = block.attention, x.shape[-1]
    normed = block.norm1(x)
    weight, bias = attention.qkv.weight, attention.qkv.bias
    key_value = F.linear(normed, weight[width:], bias[width:])
    if isinstance(layout, Packing):
        key_value = padded(key_value, layout)
    else:
        key_value = key_value.view(*layout, -1)
    k, v = (
        part.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for part in key_value.chunk(2, dim=-1)
    )
    query = F.linear(normed[places], weight[:width], bias[:width])[:, None]
    q = query.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
    x = x[places] + attention.out(attend(q, k, v, mask)[:, 0])
    return x + block.mlp(block.norm2(x))


def contrastive(image: Tensor, text: Tensor, logit_scale: Tensor) -> Tensor:
    """The mean loss of a batch whose pairs are all distinct."""
    rows = torch.arange(len(image), device=image.device)
    weight = torch.ones(len(image), device=image.device)
    total = contrastive_sum(image, text, logit_scale.exp(), weight, rows, rows, Ranks())
    return total / len(image)


_RENAMED = (
    ("visual.transformer.resblocks.", "visual.blocks."),
    ("text.transformer.resblocks.", "text.blocks."),
    ("transformer.resblocks.", "blocks."),
    ("text_decoder.resblocks.", "text_decoder.blocks."),
    ("text_decoder.cross_attn.", "text_decoder.cross."),
)
_IN_BLOCKS = (
    (".ln_1.", ".norm1."),
    (".ln_2.", ".norm2."),
    (".attn.in_proj_", ".attention.qkv."),
    (".attn.out_proj.", ".attention.out."),
    (".mlp.c_fc.", ".mlp.up."),
    (".mlp.c_proj.", ".mlp.down."),
)
_IN_CROSS = (
    (".attn.out_proj.", ".attn.out."),
    (".mlp.c_fc.", ".mlp.up."),
    (".mlp.c_proj.", ".mlp.down."),
)


def from_open_clip(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's weights or gradients by their names in this file; views where names split."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        for old, new in _RENAMED:
            if name.startswith(old):
                name = new + name[len(old) :]
                break
        crosses = ".cross." in name or ".attn_pool." in name
        for old, new in _IN_CROSS if crosses else _IN_BLOCKS if "blocks." in name else ():
            name = name.replace(old, new)
        if crosses and ".attn.in_proj_" in name:
            width = len(tensor) // 3
            found[name.replace("in_proj_", "query.")] = tensor[:width]
            found[name.replace("in_proj_", "key_value.")] = tensor[width:]
        else:
            found[name] = tensor
    return found
