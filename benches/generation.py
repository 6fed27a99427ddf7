#!/usr/bin/env python3
"""New tokens a second of Palestra, of transformers and of llama.cpp, with the same model and prompts in one run.

    python3 benches/generation.py batches [MODEL] [--batches 1,8,32,64] [--llama PYTHON]
    python3 benches/generation.py group [MODEL]
    python3 benches/generation.py turns [MODEL]
    python3 benches/generation.py environments
    python3 benches/generation.py all [MODEL]

MODEL is a Hugging Face directory such as SmolLM2-135M; without one, a Llama of random weights, 4 layers of 256, is made.
- batches: prompts of 32 to 128 random tokens, each continued by 64.
- group: 8 answers to one prompt of 512 tokens.
- turns: 32 conversations of 10 turns, beside the same without what was read before.
- environments: 32 of 100 ms a step, called at once and one by one.

All take the most likely token, in 32 bits, with the same threads, and end no text before its last token. Figures are medians
of 5 after a warm-up; a ratio is Palestra's speed by the other's. --quick runs everything once, small, to see that it runs.
--llama names a Python that has xllamacpp; llama.cpp then reads MODEL as a GGUF file that `palestra export` writes.

It builds the bench `generation` in release (and the program for --llama), and needs torch, transformers and tokenizers.
"""
import argparse, json, os, pathlib, random, statistics, subprocess, sys, tempfile, threading, time

root = pathlib.Path(__file__).resolve().parents[1]
REPEATS = 5


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["batches", "group", "turns", "environments", "all"])
    parser.add_argument("model", type=pathlib.Path, nargs="?")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", default="1,8,32,64")
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--device", default="libtorch")
    parser.add_argument("--llama", metavar="PYTHON")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    args.repeats = 1 if args.quick else REPEATS
    if args.quick:
        args.batches, args.new = "1,2", 4
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    os.environ["BENCH_REPEATS"] = str(args.repeats)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if args.what == "environments":
            return environments(args)
        model = args.model or tiny(folder / "tiny")
        if args.what in ("batches", "group", "all"):
            generation(model, args, folder)
        if args.what in ("turns", "all"):
            [turns] = bench(args.device, "turns", str(model.resolve()), args.device, str(args.threads))
            print(f"conversations: {turns['kept']:.2f} s with kept keys, {turns['fresh']:.2f} s without, ratio {turns['ratio']:.2f}")
        if args.what == "all":
            environments(args)


def generation(model, args, folder):
    """Batches of prompts, and a group of answers to one, by all programs."""
    vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
    batches = [] if args.what == "group" else [prompts(int(size), vocabulary) for size in args.batches.split(",")]
    if args.what != "batches":
        batches.append([prompts(1, vocabulary, (512, 512))[0]] * 8)
    job = folder / "batches.json"
    job.write_text(json.dumps([dict(prompts=batch, new=args.new) for batch in batches]))
    place = [str(model.resolve()), args.device, str(args.threads)]
    seconds = {"Palestra": [line["seconds"] for line in bench(args.device, *place, str(job))],
               "transformers": transformers(model, batches, args)}
    if args.llama:
        seconds["llama.cpp"] = llama_cpp(model, batches, args, folder)
    others = [name for name in seconds if name != "Palestra"]
    print(f"{'batch':>10}" + "".join(f"{name:>14}" for name in seconds) + "".join(f"{'/ ' + name:>16}" for name in others)
          + f"   new tokens/s, then ratios; {args.threads} threads, {model.name}")
    for number, batch in enumerate(batches):
        name = "8 x 512" if len(batch[0]) == 512 else str(len(batch))
        took = {program: found[number] for program, found in seconds.items()}
        print(f"{name:>10}" + "".join(f"{len(batch) * args.new / one:14.1f}" for one in took.values())
              + "".join(f"{took[other] / took['Palestra']:16.2f}" for other in others), flush=True)


def environments(args):
    [waits] = bench(args.device, "environments")
    print(f"environments: {waits['at_once']:.2f} s at once, {waits['one_by_one']:.2f} s one by one, ratio {waits['ratio']:.2f}")


def bench(device, *args):
    """Lines of the bench program."""
    features = ["--features", "libtorch"] if device.startswith("libtorch") else []
    command = ["cargo", "bench", "--quiet", *features, "--bench", "generation", "--", *args]
    out = subprocess.run(command, cwd=root, check=True, text=True, stdout=subprocess.PIPE).stdout
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def prompts(count, vocabulary, lengths=(32, 128)):
    rng = random.Random(count)
    return [[rng.randrange(10, vocabulary) for _ in range(rng.randint(*lengths))] for _ in range(count)]


def transformers(model, batches, args):
    """Median of the seconds of each batch."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    torch.set_num_threads(args.threads)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    config = GenerationConfig(do_sample=False, max_new_tokens=args.new, min_new_tokens=args.new, pad_token_id=0)
    medians = []
    for batch in batches:
        longest = max(map(len, batch))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in batch])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in batch])
        seconds = []
        for _ in range(args.repeats + 1):
            began = time.perf_counter()
            with torch.inference_mode():
                written = network.generate(input_ids=ids, attention_mask=mask, generation_config=config)
            seconds.append(time.perf_counter() - began)
            assert written.shape[1] == longest + args.new
        medians.append(statistics.median(seconds[1:]))
    return medians


def llama_cpp(model, batches, args, folder):
    """The same of llama.cpp, whose server gets all prompts of a batch at once."""
    file = folder / "model.gguf"
    subprocess.run(["cargo", "run", "--release", "--quiet", "--features", "libtorch", "--", "export", str(model), "--gguf",
                    "--out", str(file), "--type", "f32"], cwd=root, check=True, stdout=subprocess.DEVNULL)
    job = json.dumps(dict(file=str(file), batches=batches, new=args.new, threads=args.threads, repeats=args.repeats))
    out = subprocess.run([args.llama, __file__, "--xllamacpp"], check=True, input=job, text=True, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL).stdout
    return json.loads(out.splitlines()[-1])


def xllamacpp(job):
    """Medians of the seconds of each batch, printed by the Python that has llama.cpp."""
    import xllamacpp

    medians = []
    for batch in job["batches"]:
        params = xllamacpp.CommonParams()
        params.model.path = job["file"]
        params.n_parallel = len(batch)
        params.n_ctx = len(batch) * (max(map(len, batch)) + job["new"] + 1)
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = job["threads"]
        server = xllamacpp.Server(params)
        request = dict(n_predict=job["new"], temperature=0.0, ignore_eos=True, cache_prompt=True)

        def write(prompt):
            usage = server.handle_completions(dict(request, prompt=prompt))["usage"]
            written.append(usage["completion_tokens"])
        seconds = []
        for number in range(job["repeats"] + 1):
            written = []
            # Turned, so that a prompt shares its beginning with those of its batch alone, and not with what was read before.
            turned = [prompt[number:] + prompt[:number] for prompt in batch]
            callers = [threading.Thread(target=write, args=(prompt,)) for prompt in turned]
            began = time.perf_counter()
            [caller.start() for caller in callers]
            [caller.join() for caller in callers]
            seconds.append(time.perf_counter() - began)
            assert written == [job["new"]] * len(batch), written
        medians.append(statistics.median(seconds[1:]))
        del server
    print(json.dumps(medians))


def tiny(folder, vocabulary=4096):
    """Directory of a Llama with random weights and a tokenizer of numbers."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=vocabulary, hidden_size=256, intermediate_size=1024, num_hidden_layers=4,
                         num_attention_heads=4, max_position_embeddings=1024, tie_word_embeddings=True,
                         bos_token_id=None, eos_token_id=1, pad_token_id=0)
    LlamaForCausalLM(config).save_pretrained(folder)
    words = {"<pad>": 0, "<end>": 1} | {str(number): number for number in range(2, vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<pad>", "<end>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(
        tokenizer_class="PreTrainedTokenizerFast", eos_token="<end>", pad_token="<pad>")))
    return folder


if __name__ == "__main__":
    xllamacpp(json.load(sys.stdin)) if sys.argv[1:] == ["--xllamacpp"] else main()
