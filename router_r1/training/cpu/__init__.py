"""veRL on a machine without an accelerator: platform, engines and vLLM worker, plugged into veRL's own registries.

Nothing of veRL or vLLM is edited. `platform` is loaded in every process through `VERL_USE_EXTERNAL_MODULES`, `engines`
by the training workers only, `vllm_worker` by vLLM's workers only. What is patched, and why it must be, is said at
each patch; `tests/integration/training/test_cpu_platform.py` fails when upstream changes what is patched.
"""
