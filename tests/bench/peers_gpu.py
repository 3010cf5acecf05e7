#!/usr/bin/env python3
"""Annulus and PyTorch's fused attention on one GPU, side by side: TFLOP/s of attending alone.

Times scaled_dot_product_attention with its flash and cuDNN backends (CUDA events, tensors on the GPU) and, one after the other,
`annulus bench --backend cuda` (its kernels' own time on the GPU) on the same shapes; or reads what that reported before.
Useful flops: 4 d per visible pair and head forward, 10 d backward.
Exit codes: 0 done, 1 a peer failed, 77 there is no PyTorch or no GPU.
"""
# SPDX-License-Identifier: Apache-2.0
import argparse
import json
import statistics
import subprocess
import sys


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annulus", default="build-cuda/bin/annulus", help="the program (default: %(default)s)")
    parser.add_argument("--rows", type=int, nargs="+", default=[2048, 8192, 16384], help="queries and keys")
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--head-dim", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--dtype", choices=["bf16", "f16"], default="bf16")
    parser.add_argument("--samples", type=int, default=15, help="calls behind each median")
    parser.add_argument("--report", help="a report of `annulus bench --backend cuda` with these heads: ours are taken from there")
    return parser.parse_args()


def flops(rows, heads, head_dim, causal, direction):
    pairs = rows * (rows + 1) // 2 if causal else rows * rows
    return (4 if direction == "forward" else 10) * pairs * heads * head_dim


def annulus_report(options, head_dim):
    """The report of one run of `annulus bench` over all lengths; it measures chained steps and windows, too."""
    command = [options.annulus, "bench", "--backend", "cuda", "--dtype", options.dtype,
               "--rows", ",".join(str(rows) for rows in sorted(options.rows)), "--heads", str(options.heads),
               "--head-dim", str(head_dim), "--samples", str(options.samples), "--report", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def annulus_rates(options):
    """{(rows, head_dim, mask, direction): TFLOP/s} attending alone."""
    if options.report:
        with open(options.report, encoding="utf-8") as file:
            reports = [json.load(file)]
    else:
        reports = [annulus_report(options, head_dim) for head_dim in options.head_dim]
    return {(entry["rows"], entry["head_dim"], entry["mask"], entry["direction"]): entry["gflops"] / 1000
            for report in reports for entry in report["kernels"]
            if not entry["whole"] and entry["backend"] == "cuda" and entry["dtype"] == options.dtype}


def milliseconds(torch, call, samples):
    """Median of the GPU's time for `call`, after two calls that do not count."""
    times = []
    for sample in range(samples + 2):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        if sample >= 2:
            times.append(begin.elapsed_time(end))
    return statistics.median(times)


def torch_rates(torch, backend, options, rows, head_dim):
    """{(mask, direction): TFLOP/s} of scaled_dot_product_attention with one backend."""
    dtype = torch.bfloat16 if options.dtype == "bf16" else torch.float16
    shape = (1, options.heads, rows, head_dim)
    q, k, v = (torch.randn(shape, dtype=dtype, device="cuda", requires_grad=True) for _ in range(3))
    gradient = torch.randn(shape, dtype=dtype, device="cuda")
    rates = {}
    for causal in (False, True):
        def forward():
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        with torch.nn.attention.sdpa_kernel(backend):
            out = forward()
            calls = {"forward": forward,
                     "backward": lambda: torch.autograd.grad(out, (q, k, v), gradient, retain_graph=True)}
            for direction, call in calls.items():
                seconds = milliseconds(torch, call, options.samples) / 1000
                rate = flops(rows, options.heads, head_dim, causal, direction) / seconds / 1e12
                rates["causal" if causal else "full", direction] = rate
    return rates


def main():
    options = arguments()
    try:
        import torch
    except ImportError:
        print("peers_gpu: there is no PyTorch (pip install torch)", file=sys.stderr)
        return 77
    if not torch.cuda.is_available():
        print("peers_gpu: PyTorch finds no GPU", file=sys.stderr)
        return 77
    backends = {"torch flash": torch.nn.attention.SDPBackend.FLASH_ATTENTION,
                "torch cudnn": torch.nn.attention.SDPBackend.CUDNN_ATTENTION}
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, {options.dtype}, {options.heads} heads, TFLOP/s")
    print(f"{'rows':>7} {'head_dim':>8} {'mask':>7} {'direction':>9} {'annulus':>9}", *(f"{name:>12}" for name in backends))
    failed = False
    ours = annulus_rates(options)
    for head_dim in options.head_dim:
        for rows in options.rows:
            peers = []
            for name, backend in backends.items():
                try:
                    peers.append(torch_rates(torch, backend, options, rows, head_dim))
                except RuntimeError as error:
                    print(f"peers_gpu: {name}: {error}", file=sys.stderr)
                    failed = True
                    peers.append({})
            for mask in ("full", "causal"):
                for direction in ("forward", "backward"):
                    rates = [ours.get((rows, head_dim, mask, direction))] + [peer.get((mask, direction)) for peer in peers]
                    cells = ["-" if rate is None else f"{rate:.1f}" for rate in rates]
                    print(f"{rows:7} {head_dim:8} {mask:>7} {direction:>9} {cells[0]:>9}", *(f"{cell:>12}" for cell in cells[1:]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
