"""How much a pass really allocates: veRL's steps dispatched on fake tensors, which have sizes and no contents."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AttentionInterface, AutoModelForCausalLM, AutoModelForTokenClassification, PretrainedConfig


class Allocated(TorchDispatchMode):
    """The bytes of all storages that live, and their peak. Those of a model's parameters are left out."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._sizes = {parameter.untyped_storage()._cdata: 0 for parameter in model.parameters()}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return found

    def _add(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self._sizes:
            return
        self._sizes[storage._cdata] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, storage._cdata)

    def _remove(self, key: int) -> None:
        self.now -= self._sizes.pop(key, 0)


class FlashCrossEntropy(torch.autograd.Function):
    """The memory of flash-attn's: the logits are kept, and their gradient takes their place if it may."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, in_place: bool) -> torch.Tensor:
        ctx.save_for_backward(logits)
        ctx.in_place = in_place
        return logits.new_zeros(logits.shape[0], dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (logits,) = ctx.saved_tensors
        return (logits.zero_() if ctx.in_place else torch.empty_like(logits)), None


def attention_without_a_mask(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **_: Any
) -> tuple[torch.Tensor, None]:
    attended = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register("without_a_mask", attention_without_a_mask)


def peak_bytes(
    config: PretrainedConfig, tokens: int, *, is_critic: bool = False, entropy: bool = False, fused: bool = False
) -> int:
    """Peak of an update's forward and backward pass, in bfloat16 as FSDP computes: gradients go as they come."""
    from verl.utils.experimental.torch_functional import FusedLinearForPPO
    from verl.utils.torch_functional import entropy_from_logits

    config._attn_implementation = "without_a_mask"
    config.num_labels = 1
    with FakeTensorMode():
        auto_class = AutoModelForTokenClassification if is_critic else AutoModelForCausalLM
        model = auto_class.from_config(config, dtype=torch.bfloat16)
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train()
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))
        ids = torch.zeros(1, tokens, dtype=torch.long)
        inputs = {"input_ids": ids, "position_ids": torch.arange(tokens)[None], "use_cache": False}
        with Allocated(model) as allocated, torch.autocast("cpu", torch.bfloat16):
            if is_critic:
                loss = model(**inputs).logits.float().sum()
            elif fused:
                hidden = model.model(**inputs)[0]
                log_probs, entropies = FusedLinearForPPO()(hidden, model.lm_head.weight, ids, temperature=1.0)
                loss = log_probs.sum() + (0 * entropies.sum() if entropy else 0.0)
                del hidden, log_probs, entropies
            else:
                logits = model(**inputs).logits.squeeze(0)
                entropies = entropy_from_logits(logits).sum() if entropy else 0.0
                loss = FlashCrossEntropy.apply(logits, not entropy).sum() + 0 * entropies
                del logits, entropies
            loss.backward()
    return allocated.peak
