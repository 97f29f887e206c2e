"""vLLM's worker on the CPU, with weights that a sync can reach.

vLLM's CPU build repacks every linear weight into an opaque oneDNN (or sgl-kernel) handle and leaves an empty tensor
behind, so that a later `load_weights` would have nothing to write to: the worker dies, and veRL's sender waits for it
for ever. With both repackings off, vLLM takes its documented fallback, `torch.nn.functional.linear` on the plain
weight. Imported inside the worker process before the model is built.
"""

from __future__ import annotations

import vllm._custom_ops
import vllm.model_executor.layers.utils
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

vllm._custom_ops._supports_onednn = False
vllm.model_executor.layers.utils.check_cpu_sgl_kernel = lambda *args, **kwargs: False


class CpuWorkerExtension(vLLMColocateWorkerExtension):
    """veRL's own worker extension, in a module whose import keeps the weights plain."""
