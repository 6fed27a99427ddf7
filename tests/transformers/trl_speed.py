#!/usr/bin/env python3
"""Seconds a step and memory of DPO and GRPO, by Palestra and by TRL, on the same model and batch in one run.

    python3 tests/transformers/trl_speed.py MODEL PAIRS [--steps 6] [--threads 2] [--only dpo] [--palestra target/release/palestra]

MODEL is a Hugging Face directory, PAIRS are JSON lines with texts `prompt`, `chosen` and `rejected`. Both programs learn
from the same pairs, all weights, in 32 bits, with the same threads; neither holds a second model: the reference's
log-probabilities of DPO are computed before the first step, and GRPO has no KL term.

DPO: batches of 4 pairs of different prompts, at most 256 tokens each. GRPO: 4 completions of each of 2 prompts, at most 64
tokens, sampled at temperature 1; the reward is how near a completion is to 100 characters. Its completions are the
program's own, so that tokens a second stand beside the seconds of a step.

A step is the median of all after the first; memory is the most that the process had resident.
"""
import argparse, json, os, pathlib, resource, statistics, subprocess, sys, tempfile, time

import environment

root = pathlib.Path(__file__).resolve().parents[2]
PAIRS, WINDOW, PROMPTS, GROUP, LONGEST, TARGET = 4, 256, 2, 4, 64, 100
RUNS = {
    "dpo": dict(preferences=dict(files=["pairs.jsonl"], validation=["held-out.jsonl"], window=WINDOW, batch=PAIRS),
                dpo=dict(beta=0.1)),
    "grpo": dict(env=dict(kind="completion", options=dict(file="prompts.jsonl")),
                 reward=[dict(kind="length", options=dict(unit="characters", target=TARGET))],
                 rollout=dict(episodes=PROMPTS * GROUP, environments=PROMPTS * GROUP, group=GROUP, max_new_tokens=LONGEST),
                 grpo=dict(batch=PROMPTS * GROUP), evaluation=dict(episodes=1)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("pairs", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=RUNS)
    parser.add_argument("--palestra", type=pathlib.Path, default=root / "target/release/palestra")
    args = parser.parse_args()
    environ = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    print(f"{'':6}{'':10}{'s/step':>8}{'tokens/s':>10}{'memory, MB':>12}   {args.threads} threads, {args.steps} steps")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_data(args, folder)
        for learner in [args.only] if args.only else RUNS:
            found = {"Palestra": ours(args, learner, folder, environ)}
            job = json.dumps(dict(learner=learner, model=str(args.model), folder=str(folder), threads=args.threads, steps=args.steps))
            theirs = subprocess.run([sys.executable, __file__, "--trl"], check=True, env=environ, input=job, text=True,
                                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            found["TRL"] = json.loads(theirs.stdout.splitlines()[-1])
            middle = lambda values: statistics.median(values[1:])
            for name, (seconds, rates, memory) in found.items():
                print(f"{learner:6}{name:10}{middle(seconds):8.2f}{middle(rates):10.0f}{memory / 1e6:12.0f}", flush=True)
            mine, peer = found["Palestra"], found["TRL"]
            print(f"{'':6}{'ratio':10}{middle(peer[0]) / middle(mine[0]):8.2f}{middle(mine[1]) / middle(peer[1]):10.2f}"
                  f"{mine[2] / peer[2]:12.2f}   of memory, less is better", flush=True)


def write_data(args, folder):
    """Pairs of different prompts, enough for all steps; held-out ones; and prompts alone."""
    rows = {}
    for line in args.pairs.read_text().splitlines():
        row = json.loads(line)
        rows.setdefault(row["prompt"], row)
        # A prompt has many pairs; told apart by a number they are as many prompts, of which each answer is read once.
    wanted = PAIRS * (args.steps + 1)
    every = [dict(json.loads(line)) for line in args.pairs.read_text().splitlines()]
    every = every[:: max(1, len(every) // wanted)][:wanted]
    pairs = [dict(prompt=f"{number}. {row['prompt']}", chosen=row["chosen"], rejected=row["rejected"])
             for number, row in enumerate(every)]
    write = lambda name, lines: (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    write("pairs.jsonl", pairs[PAIRS:])
    write("held-out.jsonl", pairs[:PAIRS])
    write("prompts.jsonl", [dict(prompt=prompt) for prompt in rows])


def ours(args, learner, folder, environ):
    """Seconds and tokens a second of each step, and the most memory."""
    run = dict(name=learner, device="libtorch", start_from=str(args.model.resolve()), **RUNS[learner],
               optimizer=dict(learning_rate=1e-6),
               train=dict(updates=args.steps, threads=args.threads, checkpoint_every=args.steps))
    file, out = folder / f"{learner}.toml", folder / learner
    file.write_text("".join(f"{key} = {toml(value)}\n" for key, value in run.items()))
    process = subprocess.Popen([args.palestra, "--quiet", "train", file, f"--out={out}"], env=environ, stdout=subprocess.DEVNULL)
    memory, metrics = 0, out / "metrics.jsonl"
    lines = lambda: metrics.read_text().splitlines() if metrics.exists() else []
    while process.poll() is None:
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        if len(lines()) < args.steps:  # without the checkpoint that is written after the last step
            memory = max([memory, *[int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")]])
        time.sleep(0.05)
    if process.returncode != 0:
        sys.exit(f"palestra train {file}: exit code {process.returncode}")
    steps = [json.loads(line) for line in lines()]
    seconds = [step["update/seconds"] + step.get("rollout/seconds", 0.0) for step in steps]
    tokens = [step["throughput/update_tokens_per_second"] * step["update/seconds"] for step in steps]
    return seconds, [count / took for count, took in zip(tokens, seconds)], memory


def toml(value):
    """A value as TOML writes it, tables inline."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def theirs(job):
    """The same of TRL."""
    import torch
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer

    class Clock(TrainerCallback):
        """When steps begin and end, and how many tokens were read and written by then."""
        marks = []

        def on_step_begin(self, args, state, control, **kwargs):
            self.marks.append(time.perf_counter())

        def on_step_end(self, args, state, control, **kwargs):
            self.marks.append(time.perf_counter())

    torch.set_num_threads(job["threads"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    data = lambda name: load_dataset("json", data_files=f"{job['folder']}/{name}", split="train", cache_dir=job["folder"])
    common = dict(output_dir=f"{job['folder']}/trl-{job['learner']}", max_steps=job["steps"], learning_rate=1e-6, use_cpu=True,
                  bf16=False, fp16=False, gradient_checkpointing=False, save_strategy="no", report_to=[], logging_steps=1,
                  disable_tqdm=True, optim="adamw_torch_fused")
    if job["learner"] == "dpo":
        config = DPOConfig(**common, per_device_train_batch_size=PAIRS, max_length=WINDOW, precompute_ref_log_probs=True)
        trainer = DPOTrainer(model, args=config, train_dataset=data("pairs.jsonl"), processing_class=tokenizer, callbacks=[Clock()])
    else:
        near = lambda completions, **_: [max(0.0, 1.0 - abs(len(text) - TARGET) / TARGET) for text in completions]
        config = GRPOConfig(**common, per_device_train_batch_size=PROMPTS * GROUP, num_generations=GROUP,
                            max_completion_length=LONGEST, temperature=1.0, beta=0.0)
        trainer = GRPOTrainer(model, near, args=config, train_dataset=data("prompts.jsonl"), processing_class=tokenizer,
                              callbacks=[Clock()])
    trainer.train()
    marks = Clock.marks
    # A step of GRPO plays before it begins to learn, which lies between the end of the last and its own.
    seconds = [marks[at + 1] - marks[at] for at in range(0, len(marks), 2)]
    seen = [line["num_tokens"] for line in trainer.state.log_history if "num_tokens" in line]
    tokens = [after - before for before, after in zip([0, *seen], seen)] or [0] * len(seconds)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps((seconds, [count / took for count, took in zip(tokens, seconds)], memory)))


if __name__ == "__main__":
    environment.enter()
    theirs(json.load(sys.stdin)) if sys.argv[1:] == ["--trl"] else main()
