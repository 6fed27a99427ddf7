#!/usr/bin/env python3
"""Inputs after public reports, run through the program: a table of the cases with what is right, what came, and a verdict.

    python3 tests/cases.py FOLDER [CASE ...] [--palestra target/debug/palestra]

FOLDER holds a folder for each case (bos, tool-calls, ...). It is copied, so nothing is written there. Each line tells the case
with its input, what is right, what the program did, and `right` or `WRONG`; the exit status is 1 if a line is WRONG, or if
FOLDER has a case that this script does not know, or lacks one that it knows. Without the cases' names, all are run. Python's own
library is enough: numbers of transformers and PEFT are recorded here with the inputs that they belong to.
"""
import argparse, json, pathlib, re, shutil, subprocess, sys, tempfile

root = pathlib.Path(__file__).resolve().parents[1]
CASES = {}


def case(check):
    """Puts a function into the table, under the name of its folder."""
    CASES[check.__name__.replace("_", "-")] = check
    return check


class Case:
    """A copy of a case's folder, the program, and the lines of the table."""

    def __init__(self, program, folder):
        self.program, self.folder, self.wrong, self.count = program, folder, 0, 0

    def run(self, *args):
        """Status and all output of the program."""
        command = [self.program, *map(str, args)]
        done = subprocess.run(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
        return done.returncode, done.stdout.decode(errors="replace")

    def tell(self, name, right, did, is_right):
        """Prints a line of the table."""
        self.count, self.wrong = self.count + 1, self.wrong + (not is_right)
        did = re.sub(r"\s+", " ", str(did)).strip()
        print(f"{self.folder.name}/{name} | {right} | {did if len(did) < 160 else did[:157] + '...'} | {'right' if is_right else 'WRONG'}", flush=True)

    def says(self, name, right, wanted, *args, fails=False):
        """Runs the program, whose output should have these texts, and which should fail or not."""
        status, out = self.run(*args)
        shown = next((line for line in out.splitlines() if wanted and wanted[0] in line), out.strip().splitlines()[-1] if out.strip() else "")
        # A signal is never right.
        is_right = all(text in out for text in wanted) and (status == 1 if fails else status == 0)
        self.tell(name, right, f"status {status}: {shown}", is_right)

    def refuses(self, name, right, wanted, *args):
        self.says(name, right, wanted, *args, fails=True)

    def rows(self, name, right, wanted, run_file, *keys, fails=False):
        """The rows that a run learns from, with what is learned in brackets."""
        self.says(name, right, wanted, "rows", run_file, *sets(keys), fails=fails)

    def scores(self, name, model, data, right):
        """Mean negative log-likelihood of a text, as transformers has it."""
        status, out = self.run("eval", model, "--data", data, "--device", "flex", "--json")
        found = json.loads(out.splitlines()[-1])["mean_nll"] if status == 0 else out
        self.tell(name, f"mean nll {right} of transformers", found, status == 0 and abs(found - right) < 1e-4)


def sets(keys):
    return [part for key in keys for part in ("--set", key)]


def of_text(file):
    return [f'text.files=["{file}"]', f'text.validation=["{file}"]']


def of_pairs(file):
    return [f'preferences.files=["{file}"]', f'preferences.validation=["{file}"]']


@case
def bos(it):
    it.scores("llama2", "llama2", "held.txt", 7.04408)
    it.scores("llama3", "llama3", "held.txt", 6.85153)
    once = "one <s> at the beginning"
    for model, end in (("llama2", "</s>"), ("llama3", "<|im_end|>")):
        it.rows(f"{model} text", once, [f"\n<s>⟦The quick brown fox jumps over the lazy dog.{end}⟧"], f"{model}_text.toml")
        it.rows(f"{model} completion", once, ["\n<s>", f"Paris.{end}⟧"], f"{model}_completion.toml")
    it.rows("llama2 messages", "none: the template writes none", ["\n<|im_start|>user"], "llama2_messages.toml")
    it.rows("llama3 messages", once, ["\n<s><|im_start|>user"], "llama3_messages.toml")


@case
def tool_calls(it):
    qwen = ["# Tools\n{\"type\": \"function\"", "⟦\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call><|im_end|>⟧"]
    for file in ("null_dict", "null_str", "empty_dict", "empty_str", "omitted_dict", "omitted_str"):
        it.rows(f"{file} (qwen)", "tools, and the call as the file has it", qwen, "sft.toml", *of_text(f"{file}.jsonl"), "text.chat_template=qwen.jinja")
    deep = "text.chat_template=deep.jinja"
    it.rows("null_str (deep)", "null is none in the template", ["⟦CALL get_weather {\"city\": \"Paris\"} END<|im_end|>⟧"], "sft.toml", *of_text("null_str.jsonl"), deep)
    it.rows("empty_str (deep)", "an empty content is a text", ["⟦<|im_end|>⟧OUT 7"], "sft.toml", *of_text("empty_str.jsonl"), deep)
    it.rows("omitted_str (deep)", "a missing content is no none: the template fails", ["unsupported types string and undefined"], "sft.toml", *of_text("omitted_str.jsonl"), deep, fails=True)
    order = ["\"arguments\": {\"location\": \"Paris\", \"date\": \"2026-01-01\", \"celsius\": true}}"]
    it.rows("order.jsonl", "keys in the order of the file", order, "sft.toml", *of_text("order.jsonl"))
    it.rows("order.parquet", "keys in the order of the file", order, "sft.toml", *of_text("order.parquet"))
    it.rows("union.parquet", "no null of other rows in the call", ["\"arguments\": {\"city\": \"Paris\"}}"], "sft.toml", *of_text("union.parquet"), "text.window=200")
    it.rows("comp_tools.jsonl", "calls of the prompt are kept, the answer is learned", ["\"arguments\": {\"city\": \"Paris\"}}\n</tool_call><|im_end|>", "⟦\nIt is 7.<|im_end|>⟧"],
            "sft.toml", *of_text("comp_tools.jsonl"), "text.format=completion")
    for file in ("pref", "pref_text", "pref_null", "pref_history"):
        wanted = ["1 preferences, of which 1 are of 2 answers to 1 prompts"]
        it.says(f"{file}.jsonl", "two answers that differ in their calls or texts", wanted, "train", "dpo.toml", "--device", "flex", "--out", f"runs/{file}",
                *sets(of_pairs(f"{file}.jsonl") + ["preferences.window=256"]))


@case
def several_ends(it):
    it.says("grpo", "a run on two ends", ["2 updates"], "train", "grpo.toml", "--device", "flex", "--out", "runs/r",
            *sets(["rollout.record=true", "rollout.sampling.temperature=3", "rollout.max_new_tokens=60", "rollout.episodes=64"]))
    turns = turns_of(it, "runs/r")
    ends, cut = (5, 4), [ids for ids, _ in turns if ids[-1] not in (5, 4)]
    inside = [ids for ids, _ in turns if any(token in ends for token in ids[:-1])]
    it.tell("rollouts", "each stops at <|endoftext|> (5) or <|im_end|> (4)", f"{len(turns)} answers, {len(inside)} go on after an end, {len(cut)} reach 60 tokens",
            turns and not inside and all(len(ids) == 60 for ids in cut) and {ids[-1] for ids, _ in turns} >= set(ends))
    it.tell("scores", "the end token has its log-probability", "as many as tokens", all(len(ids) == len(logs) for ids, logs in turns))
    status, out = it.run("generate", "m", "--prompt", "Say", "--max-new-tokens", "60", "--temperature", "1", "--json", "--device", "flex")
    ids = json.loads(next(line for line in out.splitlines() if line.startswith("{")))["tokens"] if status == 0 else []
    it.tell("generate", "stops at either", f"{len(ids)} tokens, the last {ids[-1:]}", ids and not any(token in ends for token in ids[:-1]) and (ids[-1] in ends or len(ids) == 60))


def turns_of(it, run):
    """Token ids and log-probabilities of all turns of a run's log."""
    status, out = it.run("log", "show", f"{run}/experience", "--json", "--best", "1000")
    if status != 0:
        return []
    episodes = json.loads(next(line for line in out.splitlines() if line.startswith("{")))["episodes"]
    return [(turn["action_ids"], turn["log_probs"]) for one in episodes for turn in one["episode"]["turns"]]


@case
def added_tokens(it):
    it.rows("sft", "the markers are one token each, <|im_end|> ends", ["19 tokens, 4 learned", "⟦Paris.<|im_end|>⟧"], "sft.toml")


@case
def adapters(it):
    merged = {"alpha_float": 6.92178, "embed_saved": 6.91314, "eva": 6.91314, "lm_head_lora": 6.91314, "modules_to_save": 8.06742, "modules_to_save_empty": 6.91314,
              "patterns/alpha_dot": 6.94265, "patterns/alpha_general_first": 6.87875, "patterns/alpha_regex": 6.94265, "patterns/alpha_sorts_other": 6.87288}
    refused = {"alora": "aLoRA", "arrow": "Arrow", "bdlora": "block-diagonal", "corda": "\"corda\"", "dora": "DoRA", "loftq": "\"loftq\"", "olora": "\"olora\"", "pissa": "\"pissa\""}
    for name, right in merged.items():
        out = f"merged/{name.replace('/', '-')}"
        status, said = it.run("merge", "m", "--adapter", name, "--out", out)
        if status == 0:
            it.scores(name, out, "../configurations/held.txt", right)
        else:
            it.tell(name, f"mean nll {right} of PEFT", said, False)
    for name, word in refused.items():
        it.refuses(name, "refused by name", [f"{name}/adapter_config.json: ", word], "merge", "m", "--adapter", name, "--out", f"merged/{name}")
    found = {str(path.parent.relative_to(it.folder)) for path in it.folder.rglob("adapter_config.json")}
    it.tell("folders", "all are looked at", sorted(found - set(merged) - set(refused)), found == set(merged) | set(refused))


@case
def configurations(it):
    it.scores("params_no_theta", "params_no_theta", "held.txt", 6.81784)
    it.scores("scaling_with_theta", "scaling_with_theta", "held.txt", 6.81784)
    it.scores("yarn", "yarn", "held.txt", 6.82874)


@case
def charsets(it):
    for file, text in (("declares_utf16_is_latin1.html", "caf\u00e9's na\u00efve garden"), ("hz.txt", "\u9053\u53ef\u9053\uff0c\u975e\u5e38\u9053"), ("iso2022jp_meta.html", "\u8f29\u306f\u732b\u3067\u3042\u308b")):
        it.says(f"{file} as a corpus", "a document", ["1 kept for train"], "corpus", file, "--no-filters", "--validation", "0", "--out", f"out/{file}")
        # The rows of a shard, as a run on texts reads them.
        run_file = it.folder / f"{file}.toml"
        run_file.write_text(f'name = "r"\n[text]\nfiles = ["out/{file}/train-00000.parquet"]\nvalidation = ["out/{file}/train-00000.parquet"]\nformat = "text"\ntokenizer = "../adapters/m/tokenizer.json"\nbatch = 1\nwindow = 2000\n[model]\ncontext = 2000\n[supervised]\n')
        shards = list((it.folder / f"out/{file}").glob("train-*.parquet"))
        if shards:
            run_file.write_text(run_file.read_text().replace("train-00000.parquet", shards[0].name))
        it.rows(file, f"{text}, and no mojibake", [text], run_file.name)


@case
def ends_of_episodes(it):
    log = ["--env-id", "x-v0", "--policy-id", "p", "--split", "train", "--reward-source", "rules"]
    ended = {"both": "1 terminated, 0 truncated", "gymn_tuple": "0 terminated, 1 truncated", "no_end": "1 terminated, 0 truncated, 1 cut", "terminals_timeouts": "0 terminated, 1 truncated",
             "terminated_false_done": "0 terminated, 1 truncated", "timelimit": "0 terminated, 1 truncated", "timelimit_false": "1 terminated, 0 truncated",
             "timelimit_text": "0 terminated, 1 truncated", "truncated_done": "0 terminated, 1 truncated"}
    refused = {"bool_text": "line 1, done", "d4rl_flat": "line 1, step 1, the end flag", "interleaved": "line 3, episode_id", "nan_literal": "NaN is no number in JSON",
               "nan_reward": "line 1, reward", "next_mismatch": "line 2, state", "reward_text": "line 1, reward"}
    for name, wanted in ended.items():
        it.says(name, wanted, [wanted], "log", "import", f"{name}.jsonl", "--out", f"out/{name}.parquet", *log)
    for name, wanted in refused.items():
        it.refuses(name, "refused with line and field", [f"{name}.jsonl: ", wanted], "log", "import", f"{name}.jsonl", "--out", f"out/{name}.parquet", *log)
    it.says("o.parquet", "a truncation stays one", ["0 terminated, 1 truncated"], "log", "import", "o.parquet", "--out", "out/o.parquet")
    it.tell("files", "all are looked at", "", {path.stem for path in it.folder.glob("*.jsonl")} == set(ended) | set(refused))


@case
def binary_text(it):
    for file in sorted(path.name for path in it.folder.glob("*.parquet")):
        if file == "obs_bin_ok.parquet":
            it.says(file, "bytes that are UTF-8 are read", ["Rows            3"], "log", "stats", file)
            continue
        for command in ("check", "stats", "show"):
            it.refuses(f"{file} ({command})", "an error with file, row and column", [f"{file}: row ", "column ", "is no UTF-8"], "log", command, file)


@case
def pairs_without_prompt(it):
    # Rows read, rows learned, and the tokens of their texts, each encoded whole, as transformers counts them too.
    counts = {"atspace": (1, 1, 41), "emoji": (1, 1, 38), "emptychosen": (2, 2, 31), "emptymsg": (2, 2, 72), "identical": (2, 1, 41), "lastuser": (1, 1, 53), "messages": (1, 1, 38),
              "messages_early": (1, 1, 78), "messages_identical": (2, 1, 38), "messages_prefix": (1, 1, 57), "midword": (1, 1, 44), "mixed": (2, 2, 85), "natural": (190, 190, 1810),
              "prefix": (1, 1, 47), "promptjoin": (1, 1, 23), "promptspace": (1, 1, 26), "samefirst": (1, 1, 40), "strprompt_conv": (1, 1, 38)}
    for name, (read, kept, tokens) in counts.items():
        wanted = [f"{read} preferences, of which {kept} are of ", f"{tokens} tokens"] + (["1 left out, since both answers are the same"] if kept < read else [])
        for learner in ("dpo", "reward"):
            it.says(f"{name} ({learner})", f"{kept} of {read} pairs are learned", wanted, "train", f"{learner}.toml", "--device", "flex", "--out", f"runs/{name}-{learner}",
                    "--set", f'preferences.files=["{name}.jsonl"]')
    it.tell("files", "all are looked at", "", {path.stem for path in it.folder.glob("*.jsonl")} == set(counts))


@case
def padded_vocabulary(it):
    last = 585  # the last token of the tokenizer; the model has 640 rows, or 1024
    it.says("grpo", "a run goes on to its end", ["3 updates"], "train", "grpo.toml", "--device", "flex", "--out", "runs/grpo", "--set", "rollout.record=true", *sets(["rollout.max_new_tokens=30", "train.updates=3", "rollout.sampling.temperature=3"]))
    ids = [token for ids, _ in turns_of(it, "runs/grpo") for token in ids]
    it.tell("rollouts", "no id without text", f"{len(ids)} tokens, up to {max(ids, default=None)}", ids and max(ids) <= last)
    it.says("pretraining", "samples at each evaluation", ["4 updates", "every token alike    6.3733"], "train", "pre.toml", "--device", "flex", "--out", "runs/pre")
    it.says("fine-tuning", "samples at each evaluation", ["2 updates"], "train", "sft.toml", "--device", "flex", "--out", "runs/sft",
            "--set", 'text.files=["../added-tokens/chat.jsonl"]', "--set", 'text.validation=["../added-tokens/chat.jsonl"]')
    for model in ("m", "runs/pre"):
        status, out = it.run("generate", model, "--prompt", "Say", "--max-new-tokens", "400" if model == "m" else "60", "--temperature", "5", "--json", "--device", "flex")
        ids = json.loads(next(line for line in out.splitlines() if line.startswith("{")))["tokens"] if status == 0 else [last + 1]
        it.tell(f"generate {model}", "no id without text", f"{len(ids)} tokens, up to {max(ids)}", max(ids) <= last)
    it.says("labels", "answers to label", [], "label", "add", "labels.db", "--prompts", "prompts.jsonl", "--from", "m", "--max-new-tokens", "100", "--device", "flex")


@case
def thinking(it):
    template, r1 = "text.chat_template=", "r1.jinja"
    first, both = "⟦<think>\nadd\n</think>\n\n4<|im_end|>⟧", "⟦<think>\nadd\n</think>\n\n6<|im_end|>⟧"
    it.rows("single", "thinking is learned", [first], "sft.toml")
    it.rows("single (r1.jinja)", "the template drops the thinking: refused with a way out", ["leaves out the thinking", "r1-training"], "sft.toml", template + r1, fails=True)
    for name in ("qwen3-training", "r1-training"):
        it.rows(f"multi ({name})", "every turn with its thinking", ["add\n</think>\n\n4<|im_end|>⟧", "add\n</think>\n\n6<|im_end|>⟧"], "sft.toml", *of_text("multi.jsonl"), template + name)
    # As Qwen3's own, in short.
    (it.folder / "forgets.jinja").write_text("{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{{ m.content if loop.last else m.content.split('</think>')[-1].lstrip('\\n') }}"
                                             "{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
    forgets = [*of_text("multi.jsonl"), template + "forgets.jinja", "text.batch=2"]
    it.rows("multi, no choice", "refused with both ways out", ["history = \"as_written\"", "history = \"as_template\"", "qwen3-training"], "sft.toml", *forgets, fails=True)
    it.rows("multi, as written", "one row, both turns with their thinking", [first, both], "sft.toml", *forgets, "text.history=as_written")
    it.rows("multi, as the template", "a row for each turn, the first without thinking in the second", [first, "assistant\n4<|im_end|>\n<|im_start|>user", both], "sft.toml", *forgets, "text.history=as_template")
    it.rows("multi_plain (r1.jinja)", "both answers", ["⟦4<|im_end|>⟧", "⟦6<|im_end|>⟧"], "sft.toml", *of_text("multi_plain.jsonl"), template + r1)
    for name in (r1, "forgets.jinja"):
        it.rows(f"comp ({name})", "the last answer", ["⟦6<|im_end|>⟧"], "sft.toml", *of_text("comp.jsonl"), "text.format=completion", template + name)
        it.says(f"pref_multi ({name})", "a pair of last answers", ["1 preferences, of which 1 are of 2 answers"], "train", "dpo.toml", "--device", "flex", "--out", f"runs/{name}",
                "--set", f"preferences.chat_template={name}")


@case
def template_date(it):
    for name, date in (("plain", "2024-07-26"), ("guarded", "26 Jul 2024"), ("ifdate", "26 Jul 2024")):
        it.rows(name, "a date that is always the same", [date], "sft.toml", f"text.chat_template={name}.jinja")
    it.rows("plain, chat_date", "the date of the run file", ["Today is 2025-03-04."], "sft.toml", "text.chat_template=plain.jinja", "chat_date=2025-03-04")
    it.says("m2", "the date is told in the log", ["is told 2024-07-26 (chat_date)"], "train", "sft.toml", "--device", "flex", "--out", "runs/m2", "--set", "start_from=m2")
    it.says("m2, generate", "a template that asks without a guard is rendered", [], "generate", "m2", "--chat", "--prompt", "hi", "--max-new-tokens", "2", "--device", "flex")


@case
def tied_weights(it):
    it.scores("only_head", "only_head", "../configurations/held.txt", 9.35394)
    it.scores("both_equal", "both_equal", "../configurations/held.txt", 9.35394)
    it.refuses("both_differ", "refused with the reason", ["lm_head.weight and model.embed_tokens.weight differ"], "eval", "both_differ", "--data", "../configurations/held.txt", "--device", "flex")


@case
def pad_beyond_embedding(it):
    it.rows("m", "it loads", ["⟦Paris.<|im_end|>⟧"], "sft.toml")
    it.refuses("m2", "another token beyond the embedding is refused with both numbers", ["588 tokens", "vocab_size = 586"], "rows", "sft.toml", "--set", "start_from=m2")
    it.refuses("m, a text that spells it", "an error", ["it is for padding alone"], "generate", "m", "--prompt", pad_of(it), "--device", "flex")


def pad_of(it):
    """The token that is beyond the embedding."""
    tokens = json.loads((it.folder / "m/tokenizer.json").read_text())["added_tokens"]
    return max(tokens, key=lambda token: token["id"])["content"]


@case
def json_(it):
    log = ["--env-id", "x-v0", "--policy-id", "p", "--split", "train", "--reward-source", "rules"]
    read = ("array.json", "bom.jsonl", "pretty.json", "utf16.jsonl")
    faults = {"nan.jsonl": "NaN is no number in JSON", "trailing.jsonl": "a comma after a row"}
    for form in read:
        it.rows(f"chat_{form}", "read", ["<|im_start|>user"], "sft.toml", *of_text(f"chat_{form}"))
        it.says(f"pref_{form}", "read", ["4 preferences, of which 4"], "train", "dpo.toml", "--device", "flex", "--out", f"runs/{form}", *sets(of_pairs(f"pref_{form}")))
        it.says(f"log_{form}", "read", ["4 rows in 4 episodes"], "log", "import", f"log_{form}", "--out", f"out/{form}.parquet", *log)
    for form, fault in faults.items():
        wanted = [f"_{form}: line 1, the line: is no JSON: column ", fault]
        it.rows(f"chat_{form}", "refused with line and column", wanted, "sft.toml", *of_text(f"chat_{form}"), fails=True)
        it.refuses(f"pref_{form}", "refused with line and column", wanted, "train", "dpo.toml", "--device", "flex", *sets(of_pairs(f"pref_{form}")))
        it.refuses(f"log_{form}", "refused with line and column", wanted, "log", "import", f"log_{form}", "--out", f"out/{form}.parquet", *log)
    # The same layouts as a corpus.
    rows = [{"text": f"The {word} document has words enough of its own."} for word in ("first", "second", "third")]
    layouts = {"array.json": json.dumps(rows).encode(), "pretty.json": json.dumps(rows, indent=1).encode(), "bom.json": b"\xef\xbb\xbf" + json.dumps(rows).encode(),
               "utf16.json": json.dumps(rows).encode("utf-16"), "crlf.jsonl": "\r\n".join(map(json.dumps, rows)).encode()}
    for name, text in layouts.items():
        (it.folder / f"texts_{name}").write_bytes(text)
        it.says(f"corpus of {name}", "three documents", ["3 kept for train"], "corpus", f"texts_{name}", "--no-filters", "--validation", "0", "--out", f"out/corpus-{name}")


CASES["json"] = CASES.pop("json-")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--palestra", type=pathlib.Path, default=root / "target/debug/palestra")
    args = parser.parse_args()
    found = {path.name for path in args.folder.iterdir() if path.is_dir()}
    problems = [f"{name}: this script does not know the case" for name in sorted(found - set(CASES))]
    problems += [f"{name}: {args.folder} has no such case" for name in sorted((set(args.cases) or set(CASES)) - (found & set(CASES)))]
    if problems:
        sys.exit("error: " + "\nerror: ".join(problems))
    wrong = count = 0
    print("case | right | the program | verdict")
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "cases"
        # What cannot be read, such as a link that leads nowhere, is left out.
        shutil.copytree(args.folder, copy, ignore_dangling_symlinks=True, copy_function=shutil.copyfile)
        subprocess.run(["chmod", "-R", "u+w", copy], check=True)
        for name in args.cases or sorted(CASES):
            it = Case(args.palestra.resolve(), copy / name)
            CASES[name](it)
            wrong, count = wrong + it.wrong, count + it.count
    print(f"{count - wrong} of {count} right")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
