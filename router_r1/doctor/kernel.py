"""`python -m router_r1.doctor.kernel`: run kernels on a GPU, in a process of its own, since a bad one can end it.

Prints one line: what ran, or, with exit code 1, what did not. Where torch sees no GPU it says so, and ends with 0
unless `--gpu` says that there is one.
"""

from __future__ import annotations

import importlib.util
import sys


def main() -> int:
    import torch

    if not torch.cuda.is_available():
        print(f"torch {torch.__version__} (CUDA {torch.version.cuda}) sees no GPU")
        return int("--gpu" in sys.argv)
    ran = []
    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        ones = torch.ones(256, 256, device=device, dtype=torch.bfloat16)
        if (ones @ ones).float().sum().item() != 256**3:
            print(f"a product of matrices on {torch.cuda.get_device_name(index)} is wrong")
            return 1
        ran.append(torch.cuda.get_device_name(index))
    flash = "flash_attn is not installed"
    if importlib.util.find_spec("flash_attn") is not None:
        from flash_attn import flash_attn_func

        query = torch.randn(1, 128, 2, 64, device="cuda", dtype=torch.bfloat16)
        out = flash_attn_func(query, query, query, causal=True)
        heads_first = query.transpose(1, 2)
        expected = torch.nn.functional.scaled_dot_product_attention(
            heads_first, heads_first, heads_first, is_causal=True
        ).transpose(1, 2)
        if (out - expected).abs().max().item() > 0.05:  # a few units of bfloat16's last place
            print("flash_attn computes another attention than torch")
            return 1
        flash = "flash_attn ran"
    print(f"CUDA {torch.version.cuda}: matrices multiplied on {len(ran)} x {', '.join(sorted(set(ran)))}; {flash}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
