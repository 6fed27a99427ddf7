#!/usr/bin/env python3
"""New tokens a second of Palestra and of transformers, with the same model and prompts in one run.

    python3 benches/generation.py [MODEL] [--threads 1] [--batches 1,8,32,64] [--new 64] [--device libtorch]

MODEL is a Hugging Face directory such as SmolLM2-135M; without one, a Llama of random weights, 4 layers of 256, is made.
Prompts have 32 to 128 random tokens; a group is 8 times a prompt of 512. Both programs take the most likely token, in 32
bits, with the same threads, and end no text before its last token. Figures are medians of 5 after a warm-up; the ratio is
Palestra's speed by transformers'. Last come two figures of Palestra alone: 32 conversations of 10 turns with what was read
before kept, and 32 environments of 100 ms called at once, each beside the same without.

It builds the bench `generation` in release, and needs torch, transformers and tokenizers.
"""
import argparse, json, os, pathlib, random, statistics, subprocess, sys, tempfile, time

root = pathlib.Path(__file__).resolve().parents[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, nargs="?")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", default="1,8,32,64")
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--device", default="libtorch")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model = args.model or tiny(folder / "tiny")
        vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
        batches = [prompts(int(size), vocabulary) for size in args.batches.split(",")]
        batches.append([prompts(1, vocabulary, (512, 512))[0]] * 8)
        job = folder / "batches.json"
        job.write_text(json.dumps([dict(prompts=batch, new=args.new) for batch in batches]))
        place = [str(model.resolve()), args.device, str(args.threads)]
        ours = [line["seconds"] for line in bench(args.device, *place, str(job))]
        theirs = transformers(model, batches, args)
        print(f"{'batch':>10}{'Palestra':>12}{'transformers':>14}{'ratio':>8}   new tokens/s, {args.threads} threads, {model.name}")
        for batch, mine, other in zip(batches, ours, theirs):
            name = "8 x 512" if len(batch[0]) == 512 else str(len(batch))
            tokens = len(batch) * args.new
            print(f"{name:>10}{tokens / mine:12.1f}{tokens / other:14.1f}{other / mine:8.2f}", flush=True)
        [turns] = bench(args.device, "turns", *place)
        print(f"conversations: {turns['kept']:.2f} s with kept keys, {turns['fresh']:.2f} s without, ratio {turns['ratio']:.2f}")
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
        for _ in range(6):
            began = time.perf_counter()
            with torch.inference_mode():
                written = network.generate(input_ids=ids, attention_mask=mask, generation_config=config)
            seconds.append(time.perf_counter() - began)
            assert written.shape[1] == longest + args.new
        medians.append(statistics.median(seconds[1:]))
    return medians


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
    main()
