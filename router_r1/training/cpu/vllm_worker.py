"""vLLM's worker on the CPU, with weights that a sync can reach, and a quicker sampler.

vLLM's CPU build repacks every linear weight into an opaque oneDNN (or sgl-kernel) handle and leaves an empty tensor
behind, so that a later `load_weights` would have nothing to write to: the worker dies, and veRL's sender waits for it
for ever. With both repackings off, vLLM takes its documented fallback, `torch.nn.functional.linear` on the plain
weight.

vLLM draws a token by dividing all probabilities by exponential noise of their own. A core makes such noise slowly: for
the shipped policy that took half as long as its forward pass.

Imported inside the worker process before the model is built.
"""

from __future__ import annotations

import torch
import vllm._custom_ops
import vllm.model_executor.layers.utils
import vllm.v1.sample.ops.topk_topp_sampler
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

vllm._custom_ops._supports_onednn = False
vllm.model_executor.layers.utils.check_cpu_sgl_kernel = lambda *args, **kwargs: False


def random_sample(logits: torch.Tensor) -> torch.Tensor:
    """Draw a token of each row from the softmax of its logits, by one uniform number and the cumulated probabilities.

    Args:
        logits: [batch, vocabulary]; -inf is never drawn.

    Returns:
        [batch], the tokens' ids.
    """
    upto = logits.softmax(dim=-1, dtype=torch.float32).cumsum(dim=-1, dtype=torch.float64)
    drawn = torch.rand(len(upto), 1, dtype=torch.float64) * upto[:, -1:]
    return torch.searchsorted(upto, drawn, right=True).view(-1)


vllm.v1.sample.ops.topk_topp_sampler.compiled_random_sample = random_sample


class CpuWorkerExtension(vLLMColocateWorkerExtension):
    """veRL's own worker extension, in a module whose import keeps the weights plain."""
