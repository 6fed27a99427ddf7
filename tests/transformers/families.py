#!/usr/bin/env python3
"""One tiny model of each family through the whole program: generate, eval, plan, SFT, DPO and GRPO.

    python3 tests/transformers/families.py target/release/palestra [--device flex] [--keep FOLDER] [FAMILY..]

Each model has random weights, which transformers makes, and a tokenizer of single characters. `palestra eval` must give the
mean negative log-likelihood that transformers gives to 1e-4, before training and after each kind of it, so that what
Palestra learned and wrote is what transformers loads. `palestra generate` must write the tokens of transformers' greedy
search, and `palestra plan` count the parameters that transformers has. It runs in the environment of environment.py.
"""
import argparse, json, pathlib, subprocess, sys, tempfile

import environment

environment.enter()
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<bos>", "<eos>"]
TEXT = "the cat sat on the mat. a dog ran to the old barn, and the cat sat up. who sat on the mat? the cat did."
ALPHABET = sorted(set(TEXT + "abcdefghijklmnopqrstuvwxyz ?:\n"))
TEMPLATE = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}<eos>{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
TOLERANCE = 1e-4

base = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=64)
long_rope = dict(rope_type="longrope", short_factor=[1.0, 1.5], long_factor=[2.0, 5.0])
FAMILIES = {
    "gpt2": dict(n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "llama": base,
    "mistral": base | dict(sliding_window=16),
    "qwen2": base,
    "qwen3": base | dict(head_dim=12),
    "qwen3_moe": base | dict(head_dim=12, moe_intermediate_size=16, num_experts=4, num_experts_per_tok=2, norm_topk_prob=True,
                             mlp_only_layers=[1]),
    "mixtral": base | dict(num_local_experts=4, num_experts_per_tok=2),
    "gemma3_text": base | dict(head_dim=12, sliding_window=16, sliding_window_pattern=2, query_pre_attn_scalar=20,
                               final_logit_softcapping=30.0),
    "phi3": base | dict(rope_scaling=long_rope, partial_rotary_factor=0.5, original_max_position_embeddings=64,
                        sliding_window=16),
    "smollm3": base | dict(no_rope_layer_interval=2),
    "olmo2": base,
}

SFT = """name = "sft"
start_from = "{model}"
[text]
files = ["{folder}/sft.jsonl"]
validation = ["{folder}/sft.jsonl"]
format = "messages"
window = 48
batch = 4
samples = 0
[supervised]
"""
DPO = """name = "dpo"
start_from = "{model}"
[preferences]
files = ["{folder}/pairs.jsonl"]
validation = ["{folder}/pairs.jsonl"]
window = 48
batch = 4
[dpo]
"""
GRPO = """name = "grpo"
start_from = "{model}"
[env]
file = "{folder}/env.toml"
[rollout]
episodes = 16
environments = 16
group = 4
max_new_tokens = 8
[grpo]
batch = 16
[evaluation]
episodes = 4
"""
COMMON = """device = "{device}"
[optimizer]
learning_rate = 1e-3
[train]
updates = 3
checkpoint_every = 3
threads = 1
"""
# In a mixture of experts, PEFT takes neither the router nor dense layers beside the experts for linear layers.
LORA = """[lora]
rank = 2
targets = ["*.attention.*", "*.{adapted}.*"]
"""
ENVIRONMENT = """id = "six-characters"
kind = "completion"
[options]
file = "prompts.jsonl"
[[reward]]
kind = "length"
options = { target = 6 }
"""


def write_inputs(folder):
    rows = lambda pairs: "".join(json.dumps(row) + "\n" for row in pairs)
    turns = lambda question, answer: [dict(role="user", content=question), dict(role="assistant", content=answer)]
    questions = [("who sat?", "the cat"), ("who ran?", "a dog"), ("where?", "on the mat"), ("when?", "at noon")]
    (folder / "sft.jsonl").write_text(rows(dict(messages=turns(*pair)) for pair in questions))
    (folder / "pairs.jsonl").write_text(rows(dict(prompt=question, chosen=answer, rejected="no one") for question, answer in questions))
    (folder / "env.toml").write_text(ENVIRONMENT)
    (folder / "prompts.jsonl").write_text(rows(dict(prompt=prompt) for prompt in ["the cat", "a dog", "who sat", "on the"]))
    (folder / "held-out.txt").write_text(TEXT)


def write_model(directory, family, configuration):
    vocabulary = {token: number for number, token in enumerate(SPECIAL + ALPHABET)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")
    tokenizer.chat_template = TEMPLATE
    special = dict(vocab_size=len(vocabulary), pad_token_id=0, bos_token_id=1, eos_token_id=2)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **configuration, **special))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0 if parameter.dim() > 1 else 0.5, 0.2)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return tokenizer


def load(directory):
    """The model of a directory, or that of an adapter's base with the adapter."""
    if (directory / "adapter_config.json").exists():
        from peft import AutoPeftModelForCausalLM
        return AutoPeftModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()


@torch.no_grad()
def mean_nll(model, tokens, context=64):
    """Of each token but the first, in windows of the context that share a token."""
    losses = []
    for start in range(0, len(tokens) - 1, context):
        window = torch.tensor([tokens[start : start + context + 1]])
        logits = model(window[:, :-1], use_cache=False).logits[0]
        losses.append(torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="none"))
    return torch.cat(losses).mean().item()


@torch.no_grad()
def greedy(model, tokens, count):
    written = list(tokens)
    for _ in range(count):
        written.append(int(model(torch.tensor([written]), use_cache=False).logits[0, -1].argmax()))
        if written[-1] == 2:
            break
    return written[len(tokens):]


def check(args, folder, family, configuration):
    def run(*words):
        found = subprocess.run([args.palestra, "--quiet", "--json", *map(str, words)], cwd=folder, capture_output=True, text=True)
        if found.returncode:
            sys.exit(f"{family}: palestra {' '.join(map(str, words))}: exit code {found.returncode}\n{found.stderr}{found.stdout}")
        return json.loads(found.stdout)

    directory = folder / family
    tokenizer = write_model(directory, family, configuration)
    tokens = tokenizer(TEXT).input_ids
    worst = 0.0

    def compare(what, path, model):
        nonlocal worst
        ours = run("eval", path, "--data", "held-out.txt", "--device", args.device)["mean_nll"]
        theirs = mean_nll(model, tokens)
        worst = max(worst, abs(ours - theirs))
        assert abs(ours - theirs) < TOLERANCE, f"{family}, {what}: palestra's nll is {ours}, transformers' {theirs}"

    model = load(directory)
    compare("untrained", directory, model)
    prompt = "the cat sat"
    ours = run("generate", directory, "--prompt", prompt, "--max-new-tokens", 12, "--temperature", 0, "--device", args.device)
    theirs = greedy(model, tokenizer(prompt, add_special_tokens=False).input_ids, 12)
    assert ours["tokens"] == theirs, f"{family}: palestra writes {ours['tokens']}, transformers {theirs}"

    kinds = {"sft": SFT, "dpo": DPO, "grpo": GRPO, "sft-lora": SFT}
    for kind, text in kinds.items():
        file = folder / f"{family}-{kind}.toml"
        settings = COMMON + (LORA if kind.endswith("lora") else "")
        # Top-level keys come before the first table.
        head, rest = text.split("\n", 1)
        first, others = settings.split("\n", 1)
        file.write_text("\n".join([head, first, rest + others]).format(
            model=directory, folder=folder, device=args.device,
            adapted="experts" if "num_experts_per_tok" in configuration else "feed_forward"))
        if kind == "sft":
            plan = run("plan", file, "--gpus", 1, "--tflops", 1)
            count = sum(parameter.numel() for parameter in model.parameters())
            assert plan["parameters"] == count, f"{family}: the plan has {plan['parameters']} parameters, transformers {count}"
        out = folder / f"runs/{family}-{kind}"
        run("train", file, "--out", out)
        compare(kind, out, load(sorted((out / "checkpoints").iterdir())[-1]))
    print(f"{family:>12}: nll within {worst:.1e}, after {', '.join(kinds)} too; greedy and plan equal", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("palestra", type=pathlib.Path)
    parser.add_argument("families", nargs="*", default=list(FAMILIES), metavar="FAMILY")
    parser.add_argument("--device", default="flex")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for models and runs [default: a temporary one]")
    args = parser.parse_args()
    args.palestra = args.palestra.resolve()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.keep or pathlib.Path(temporary)).resolve()
        folder.mkdir(exist_ok=True)
        write_inputs(folder)
        for family in args.families:
            check(args, folder, family, FAMILIES[family])


if __name__ == "__main__":
    main()
