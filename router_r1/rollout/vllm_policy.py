"""Policy back end: vLLM in this process's own engine, on GPUs or without.

A request that the engine refuses raises vLLM's own error; an engine that fails, or is dead, a RuntimeError.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from router_r1.rollout import vllm_environment
from router_r1.rollout.model_folder import check_model_path, model_config, stored_dtype
from router_r1.rollout.policy import Finish, Generation
from router_r1.rollout.sampling import Sampling

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

_SHUTDOWN_S = 20.0  # on a busy machine the engine's processes need longer than vLLM's own 5 s to leave by themselves
_FINISHES: dict[str, Finish] = {"stop": "stop", "length": "length", "abort": "abort"}


class _Shared:
    """The one place that holds an engine, whoever holds a policy of it."""

    def __init__(self, engine: AsyncLLM) -> None:
        self.engine = engine


class VllmPolicy:
    """An engine as `rollout.policy.Policy`; made by `vllm_policy`.

    Attributes:
        sampling: of the turns that are asked for from now on.
    """

    def __init__(self, engine: AsyncLLM, sampling: Sampling) -> None:
        self._shared = _Shared(engine)
        self.sampling = sampling

    def drop_engine(self) -> None:
        """Let go of the engine, which was shut down: it must not be there when the interpreter ends."""
        del self._shared.engine

    @property
    def max_model_len(self) -> int:
        """Longest sequence, prompt included, in tokens."""
        return int(self._shared.engine.model_config.max_model_len)

    @property
    def is_alive(self) -> bool:
        """See `MortalPolicy.is_alive`."""
        return not self._shared.engine.errored

    def with_sampling(self, sampling: Sampling) -> VllmPolicy:
        """See `AdjustablePolicy.with_sampling`."""
        policy = VllmPolicy(self._shared.engine, sampling)
        policy._shared = self._shared
        return policy

    async def generate(
        self, token_ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], request_id: str
    ) -> Generation:
        """See `Policy.generate`. Cancelling it aborts the request in the engine.

        Raises:
            RuntimeError: the engine ended the request in a way that is neither stop, length nor abort, or failed.
        """
        return await self._generate(token_ids, max_tokens, stop, request_id, told=None)

    async def stream(
        self,
        token_ids: Sequence[int],
        *,
        max_tokens: int,
        stop: Sequence[str],
        request_id: str,
        told: Callable[[Sequence[int]], None],
    ) -> Generation:
        """See `StreamingPolicy.stream`; cancelling and errors as in `generate`."""
        return await self._generate(token_ids, max_tokens, stop, request_id, told=told)

    async def _generate(
        self,
        token_ids: Sequence[int],
        max_tokens: int,
        stop: Sequence[str],
        request_id: str,
        told: Callable[[Sequence[int]], None] | None,
    ) -> Generation:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        params = SamplingParams(
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            seed=self.sampling.seed_of_turn(request_id, len(token_ids)),
            max_tokens=max_tokens,
            stop=list(stop),
            include_stop_str_in_output=True,
            skip_special_tokens=False,  # a stop string with a control token in it is none
            logprobs=0 if self.sampling.logprobs else None,  # 0: of the sampled token alone
            # All at the end in one piece, or in the pieces that the engine's steps make.
            output_kind=RequestOutputKind.DELTA if told else RequestOutputKind.FINAL_ONLY,
        )
        ids: list[int] = []
        logprobs: list[float] = []
        ended: str | None = "nothing at all"
        try:
            async for output in self._shared.engine.generate({"prompt_token_ids": list(token_ids)}, params, request_id):
                piece = output.outputs[0]
                ended, new = piece.finish_reason, list(piece.token_ids)
                if not new:
                    continue
                ids += new
                if piece.logprobs is not None:
                    logprobs += [step[token].logprob for step, token in zip(piece.logprobs, new, strict=True)]
                if told:
                    told(new)
        except (EngineDeadError, EngineGenerateError) as fault:
            raise RuntimeError(f"{request_id}: the engine failed: {fault}") from fault
        if ended not in _FINISHES:
            raise RuntimeError(f"{request_id}: the engine ended a generation by {ended!r}")
        return Generation(ids, _FINISHES[ended], logprobs)


@asynccontextmanager
async def vllm_policy(
    model_path: str,
    *,
    sampling: Sampling | None = None,
    max_model_len: int | None = None,
    tensor_parallel_size: int = 1,
    enforce_eager: bool = False,
    seed: int = 0,
    **engine_args: Any,
) -> AsyncIterator[VllmPolicy]:
    """Start an engine, and stop it and its processes on the way out.

    Args:
        model_path: folder in Hugging Face format, or a hub id.
        sampling: greedy by default.
        max_model_len: longest sequence wanted, in tokens; what the model itself allows if that is less, or for None.
        tensor_parallel_size: GPUs that share the model.
        enforce_eager: no CUDA graphs: slower tokens, much faster start. Always so on a CPU.
        seed: of the engine; sampled turns have their own, see `Sampling.seed`.
        engine_args: any other of vLLM's `AsyncEngineArgs`.

    Raises:
        ConfigError: the model does not exist; before vLLM is imported.
    """
    check_model_path("policy", "model_path", model_path)
    config = model_config(model_path)
    cpu = not _has_gpu()
    vllm_environment.prepare(cpu=cpu)
    if cpu:
        # Without GPUs vLLM would run a float32 checkpoint in 16 bits, and small models are trained in 32.
        said = config.get("dtype") or config.get("torch_dtype")
        engine_args.setdefault("dtype", stored_dtype(model_path) or said or "float32")
        engine_args.setdefault("gpu_memory_utilization", 0.1)
        # A prompt that is cut in two by the batch's budget makes vLLM 0.28 set back the generator of a seeded request,
        # which generators of the CPU cannot do: whole prompts only.
        engine_args.setdefault("enable_chunked_prefill", False)
        enforce_eager = True
    allowed = config.get("max_position_embeddings")
    if max_model_len is not None and allowed is not None:
        max_model_len = min(max_model_len, allowed)

    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    args = AsyncEngineArgs(
        model=model_path,
        max_model_len=max_model_len,
        tensor_parallel_size=tensor_parallel_size,
        enforce_eager=enforce_eager,
        seed=seed,
        disable_log_stats=True,
        generation_config="vllm",
        **engine_args,
    )
    with _interruptible(), _without_main_module():
        engine = AsyncLLM.from_engine_args(args)
    policy = VllmPolicy(engine, sampling or Sampling())
    try:
        yield policy
    finally:
        engine.shutdown(timeout=_SHUTDOWN_S)
        policy.drop_engine()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end a block that never yields to the event loop, whose own handler could only ask it to."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop_handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, loop_handler)


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Keep the engine's processes from running the user's script again.

    `multiprocessing` imports the main module in a process that it spawns; a script without `if __name__ == "__main__"`
    would start another engine there. The engine needs nothing of it.
    """
    main = sys.modules["__main__"]
    kept: dict[str, Any] = {name: vars(main).pop(name) for name in ("__file__", "__spec__") if name in vars(main)}
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(kept)


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())
