#!/usr/bin/env python3
"""The same steps of fine-tuning by Palestra and by PyTorch with transformers and PEFT, side by side.

    python3 tests/transformers/fine_tuning.py MODEL [--steps 10] [--threads 2] [--palestra target/release/palestra]

MODEL is a Hugging Face directory with a chat template. For the recipes sft-finance (all weights) and sft-finance-lora
(adapters) in turn, Palestra tells the rows that it learns from (`palestra rows`), learns from them, and PyTorch in a fresh
process learns from the same rows: packed texts that see nothing of each other, the mean over all learned tokens of a step,
gradients clipped to the same norm, PyTorch's own fused AdamW with the same numbers, the same threads. Adapters start as
Palestra's do, and the learning rate of each step is read from Palestra's metrics.

Memory is the most that the process had resident, loading and all steps, without the checkpoint that Palestra writes after
the last one. Tokens are those that are read; their rate is the median over the steps after the first.
"""
import argparse, json, os, pathlib, resource, statistics, subprocess, sys, tempfile, time

import environment

root = pathlib.Path(__file__).resolve().parents[2]
RECIPES = {"all weights": "sft-finance", "adapters": "sft-finance-lora"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--palestra", type=pathlib.Path, default=root / "target/release/palestra")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="laid over both recipes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        script = root / "examples/recipes/finance_questions.py"
        subprocess.run([sys.executable, script, folder], check=True, stdout=subprocess.DEVNULL)
        for title, recipe in RECIPES.items():
            compare(args, title, recipe, folder)


def compare(args, title, recipe, folder):
    keys = {"start_from": args.model.resolve(), "train.updates": args.steps, "train.threads": args.threads,
            "text.files": [f"{folder}/finance-train.jsonl"], "text.validation": [f"{folder}/finance-validation.jsonl"],
            "text.validation_windows": 4, "text.samples": 0}
    settings = [f"--set={key}={value if isinstance(value, int) else json.dumps(value, default=str)}"
                for key, value in keys.items()] + [f"--set={pair}" for pair in args.set]
    call = [args.palestra, "--quiet", "--json"]
    file = root / f"examples/recipes/{recipe}.toml"
    environ = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    run = lambda *words: subprocess.run([*call, *words], check=True, env=environ, stdout=subprocess.PIPE, text=True).stdout
    steps = json.loads(run("rows", file, *settings, f"--steps={args.steps}"))["steps"]
    job = dict(model=str(args.model), threads=args.threads, steps=steps, adapters=None)
    if recipe.endswith("lora"):
        # A step at next to no learning rate writes adapters as they are before the first.
        begin = ["--set=train.updates=1", "--set=optimizer.learning_rate=1e-30", f"--out={folder}/begin"]
        run("train", file, *settings, *begin)
        job["adapters"] = f"{folder}/begin/checkpoints/step-00000001"
    ours, memory = watched([*call, "train", file, *settings, f"--out={folder}/{recipe}"], environ, folder / recipe, args.steps)
    with open(folder / recipe / "run.toml") as text:
        job["run"] = text.read()
    job["rates"] = [line["optimizer/learning_rate"] for line in ours]
    found = subprocess.run([sys.executable, __file__, "--torch"], check=True, env=environ, stdout=subprocess.PIPE,
                           input=json.dumps(job), text=True)
    theirs = json.loads(found.stdout)

    print(f"\n{title}, {args.threads} threads\n{'step':>12} {'Palestra':>10} {'PyTorch':>10} {'difference':>11}")
    for step, (line, loss) in enumerate(zip(ours, theirs["losses"]), 1):
        print(f"{f'loss {step}':>12} {line['loss/nll']:10.5f} {loss:10.5f} {abs(line['loss/nll'] - loss):11.1e}")
    rates = [line["throughput/update_tokens_per_second"] for line in ours], theirs["tokens_per_second"]
    ours_rate, their_rate = (statistics.median(rate[1:]) for rate in rates)
    print(f"{'tokens/s':>12} {ours_rate:10.0f} {their_rate:10.0f} {ours_rate / their_rate:10.2f}x")
    print(f"{'memory, MB':>12} {memory / 1e6:10.0f} {theirs['memory'] / 1e6:10.0f} {memory / theirs['memory']:10.2f}x", flush=True)


def watched(command, environ, directory, steps):
    """Metrics of all steps, and the most resident memory before the last step was over."""
    process, memory, done = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL), 0, 0
    lines = lambda: (directory / "metrics.jsonl").read_text().splitlines() if (directory / "metrics.jsonl").exists() else []
    while process.poll() is None and done < steps:
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        seen = [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")]
        done = len(lines())
        if done < steps:
            memory = max([memory, *seen])
        time.sleep(0.05)
    if process.wait() != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {process.returncode}")
    return [json.loads(line) for line in lines()], memory


def learn(job):
    """The steps in PyTorch: their losses, tokens a second, and the most memory."""
    import tomllib
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(job["threads"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    if job["adapters"]:
        from peft import PeftModel
        model = PeftModel.from_pretrained(model, job["adapters"], is_trainable=True)
    model.train()
    settings = tomllib.loads(job["run"])["optimizer"]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, betas=settings["betas"], eps=settings["eps"],
                                  weight_decay=settings["weight_decay"], fused=True)
    losses, rates = [], []
    for rows, rate in zip(job["steps"], job["rates"]):
        began = time.perf_counter()
        batch = batch_of(torch, rows)
        logits = model(**{name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten(), ignore_index=-100)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, settings["max_grad_norm"])
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        rates.append(sum(len(row["tokens"]) - 1 for row in rows) / (time.perf_counter() - began))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    json.dump(dict(losses=losses, tokens_per_second=rates, memory=memory), sys.stdout)


def batch_of(torch, rows):
    """Rows padded on the right; each text of a row sees itself alone and has positions of its own."""
    time = max(len(row["tokens"]) for row in rows) - 1
    tokens = torch.zeros(len(rows), time, dtype=torch.long)
    targets = torch.full((len(rows), time), -100)
    positions = torch.zeros(len(rows), time, dtype=torch.long)
    texts = torch.zeros(len(rows), time, dtype=torch.long)
    for at, row in enumerate(rows):
        tokens[at, : len(row["tokens"]) - 1] = torch.tensor(row["tokens"][:-1])
        counted = torch.tensor(row["counted"])
        targets[at, counted - 1] = torch.tensor(row["tokens"])[counted]
        for number, (start, end) in enumerate(zip([0, *row["borders"]], [*row["borders"], time])):
            texts[at, start:end] = number
            positions[at, start:end] = torch.arange(end - start)
    seen = (texts[:, :, None] == texts[:, None, :]).tril()[:, None]  # [rows, 1, time, time]
    hidden = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    return dict(input_ids=tokens, targets=targets, position_ids=positions, attention_mask=hidden)


if __name__ == "__main__":
    environment.enter()
    learn(json.load(sys.stdin)) if sys.argv[1:] == ["--torch"] else main()
