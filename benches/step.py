#!/usr/bin/env python3
"""Seconds of a training step of Palestra, of PyTorch eager and of torch.compile, and of its matrix products alone.

    python3 benches/step.py [--threads 1,2] [--shapes 8x128,4x512] [--repeats 7] [--device libtorch] [--no-compile] [--quick]

The model is a GPT-2 of 4 layers, 256 wide, with a vocabulary of 4,096; a step is the loss of all next tokens, its gradients,
and AdamW with clipping, in 32 bits. SHAPES are rows x tokens. All run one after the other with the same threads; figures are
medians after a warm-up. The products are those of the linear layers and of the output layer, forward and backward, computed
by PyTorch on tensors of the same sizes: what no program can save. A ratio above 1 says that Palestra is faster.

It builds the bench `step` in release, and needs torch and transformers; torch.compile needs a C++ compiler.
"""
import argparse, json, os, pathlib, statistics, subprocess, sys, tempfile, time

root = pathlib.Path(__file__).resolve().parents[1]
LAYERS, WIDTH, HEADS, VOCABULARY = 4, 256, 4, 4096


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--shapes", default="8x128,4x512")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="libtorch")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one small shape, to see that everything runs")
    parser.add_argument("--torch", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torch:
        return print(json.dumps(pytorch(json.loads(args.torch))))
    if args.quick:
        args.threads, args.shapes, args.repeats = "1", "2x32", 3
    print(f"{'shape':>8}{'threads':>9}{'Palestra':>10}{'eager':>9}{'compile':>9}{'products':>10}"
          f"{'/ eager':>9}{'/ compile':>11}{'products x':>12}   milliseconds, then ratios")
    for shape in args.shapes.split(","):
        rows, tokens = map(int, shape.split("x"))
        for threads in map(int, args.threads.split(",")):
            job = dict(layers=LAYERS, width=WIDTH, heads=HEADS, vocabulary=VOCABULARY, rows=rows, time=tokens,
                       repeats=args.repeats, threads=threads)
            environ = os.environ | {"OMP_NUM_THREADS": str(threads)}
            peer = lambda kind: json.loads(subprocess.run(
                [sys.executable, __file__, "--torch", json.dumps(job | {"kind": kind})], env=environ, check=True, text=True,
                stdout=subprocess.PIPE).stdout.splitlines()[-1])
            mine, eager, products = ours(args.device, job, environ), peer("eager"), peer("products")
            compiled = None if args.no_compile else peer("compile")
            milli = lambda seconds: "-" if seconds is None else f"{1000 * seconds:.1f}"
            ratio = lambda seconds: "-" if seconds is None else f"{seconds / mine:.2f}"
            print(f"{shape:>8}{threads:>9}{milli(mine):>10}{milli(eager):>9}{milli(compiled):>9}{milli(products):>10}"
                  f"{ratio(eager):>9}{ratio(compiled):>11}{mine / products:12.2f}", flush=True)


def ours(device, job, environ):
    """Median of the seconds of a step of Palestra."""
    features = ["--features", "libtorch"] if device.startswith("libtorch") else []
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "shape.json"
        file.write_text(json.dumps(job))
        command = ["cargo", "bench", "--quiet", *features, "--bench", "step", "--", device, str(job["threads"]), str(file)]
        out = subprocess.run(command, cwd=root, env=environ, check=True, text=True, stdout=subprocess.PIPE).stdout
    return next(json.loads(line)["seconds"] for line in out.splitlines() if line.startswith("{"))


def pytorch(job):
    """Median of the seconds of a step of PyTorch, or of its products."""
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    torch.set_num_threads(job["threads"])
    shape = (job["rows"], job["time"])
    if job["kind"] == "products":
        step = products(shape[0] * shape[1])
    else:
        config = GPT2Config(vocab_size=VOCABULARY, n_positions=job["time"], n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS,
                            activation_function="gelu", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False)
        model = GPT2LMHeadModel(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0, fused=True)
        run = torch.compile(model) if job["kind"] == "compile" else model
        text = torch.randint(VOCABULARY, (shape[0], shape[1] + 1))

        def step():
            optimizer.zero_grad(set_to_none=True)
            logits = run(input_ids=text[:, :-1]).logits
            cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    seconds = []
    for _ in range(job["repeats"] + 2):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[2:])


def products(rows):
    """The matrix products of a step over so many tokens: output, gradient of the input and of the weight of each layer."""
    import torch

    layer = [(WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)]
    layers = [(torch.randn(rows, inner), torch.randn(inner, outer), torch.randn(rows, outer))
              for inner, outer in layer * LAYERS + [(WIDTH, VOCABULARY)]]

    def step():
        for x, weight, gradient in layers:
            x @ weight
            gradient @ weight.T
            x.T @ gradient
    return step


if __name__ == "__main__":
    main()
