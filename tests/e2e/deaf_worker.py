"""A vLLM worker that takes the first weights it is sent and ignores all later ones: a lost weight sync on demand."""

from __future__ import annotations

from router_r1.training.cpu.vllm_worker import CpuWorkerExtension


class DeafWorkerExtension(CpuWorkerExtension):
    def _update_weights(self, weights, **kwargs):
        if getattr(self, "_heard_once", False):
            return None
        self._heard_once = True
        return super()._update_weights(weights, **kwargs)
