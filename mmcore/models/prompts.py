"""What the decoder is told before it writes: nothing for a caption, the question for an answer.

A question prompt is ``BOS question MASK``: the mask stands for the text that belongs there (after
T5's sentinels, arXiv:1910.10683), and the answer and EOS follow.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmcore.models.config import EOS, MASK, PAD


def question_prompts(questions: Tensor, room: int) -> Tensor:
    """Questions int64 [Q, T], framed by BOS and EOS, as prompts [Q, <= room], where room is at
    least 2: MASK for EOS.

    A question that is too long loses its end, not its mask.
    """
    prompts = questions[:, :room].masked_fill(questions[:, :room] == EOS, MASK)
    if questions.shape[1] > room:
        prompts = prompts.clone()
        cut = (prompts != PAD).all(dim=1) & (prompts[:, -1] != MASK)
        prompts[cut, -1] = MASK
    return prompts


def with_answers(prompts: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
    """Append to each prompt [Q, P] its answer [Q, A] (tokens and EOS, PAD behind).

    Returns ids [Q, P + A] without gaps, and which of them are the answer's, bool.
    """
    lengths = (prompts != PAD).sum(dim=1, keepdim=True)
    ids = F.pad(prompts, (0, answers.shape[1]))
    places = lengths + torch.arange(answers.shape[1], device=ids.device)
    ids = ids.scatter(1, places, answers)
    is_answer = torch.zeros_like(ids, dtype=torch.bool).scatter(1, places, answers != PAD)
    return ids, is_answer
