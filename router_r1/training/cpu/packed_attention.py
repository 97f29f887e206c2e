"""Causal attention over sequences that lie end to end in one row, without padding: `attn_implementation: packed_sdpa`.

What flash-attention's variable-length kernels do on a GPU. A sequence begins where its positions begin anew, and sees
itself alone. Added to transformers' own registry of attention functions when this module is imported.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

PACKED_SDPA = "packed_sdpa"


def packed_sdpa(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    position_ids: torch.Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention in the form that transformers asks of it.

    Args:
        query: [1, num_heads, num_tokens, head_dim]; `key` and `value` may have fewer heads.
        position_ids: [1, num_tokens]; 0 at the first token of every sequence.

    Returns:
        [1, num_tokens, num_heads, head_dim], and no weights.

    Raises:
        ValueError: for what it cannot do: rows with padding, or a window.
    """
    if query.shape[0] != 1 or attention_mask is not None or sliding_window is not None:
        raise ValueError(f"{PACKED_SDPA} takes one packed row without mask or window; set use_remove_padding=true")
    starts = (position_ids[0] == 0).nonzero().flatten().tolist()
    lengths = [end - start for start, end in zip(starts, [*starts[1:], query.shape[2]], strict=True)]
    is_grouped = key.shape[1] != query.shape[1]
    sequences = zip(*(states.split(lengths, dim=2) for states in (query, key, value)), strict=True)
    attended = [
        scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=is_grouped)
        for q, k, v in sequences
    ]
    return torch.cat(attended, dim=2).transpose(1, 2).contiguous(), None


AttentionInterface.register(PACKED_SDPA, packed_sdpa)
