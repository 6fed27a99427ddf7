#!/usr/bin/env python3
"""The other side of the parity tests: what Hugging Face's transformers and PEFT compute.

    python3 tests/transformers/parity.py record             writes the fixtures that the Rust tests read
    python3 tests/transformers/parity.py check DIRECTORY..  loads what Palestra saved, and compares
    python3 tests/transformers/parity.py tokenizers DIR..   loads the tokenizers that Palestra saved, and compares
    python3 tests/transformers/parity.py real MODEL         writes what transformers makes of a real model

They run in a Python environment of their own, which environment.py makes at the first call.

`check`, `tokenizers` and `real` are called by the Rust tests that `cargo xtask parity` runs; `real` where PALESTRA_SMOLLM2
names a Hugging Face directory with a chat template.
"""
import json, pathlib, sys

import environment

environment.enter()
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

here = pathlib.Path(__file__).resolve().parent
VOCAB, TIME, WRITTEN = 40, 24, 12


def configurations():
    """Families, and each feature of their configurations that Palestra computes."""
    llama = dict(model_type="llama", hidden_size=24, intermediate_size=28, num_hidden_layers=2, num_attention_heads=4,
                 num_key_value_heads=2, max_position_embeddings=64, rope_theta=500.0)
    gpt2 = dict(model_type="gpt2", n_embd=16, n_layer=2, n_head=4, n_positions=64)
    llama3 = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                  original_max_position_embeddings=16)
    yarn = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, rope_theta=300.0)
    long_rope = dict(rope_type="longrope", short_factor=[1.0, 1.5, 2.0], long_factor=[2.0, 3.0, 5.0],
                     original_max_position_embeddings=20)
    return {
        "gpt2": gpt2 | dict(activation_function="gelu_new"),
        "gpt2-exact": gpt2 | dict(activation_function="gelu", n_inner=20, tie_word_embeddings=False),
        "llama": llama | dict(tie_word_embeddings=False),
        "llama-biases": llama | dict(attention_bias=True, mlp_bias=True, head_dim=8),
        "llama-linear": llama | dict(rope_scaling=dict(rope_type="linear", factor=4.0)),
        "llama3": llama | dict(rope_scaling=llama3),
        "mistral": llama | dict(model_type="mistral", sliding_window=7),
        "qwen2": llama | dict(model_type="qwen2", use_sliding_window=False),
        "qwen3": llama | dict(model_type="qwen3", head_dim=10, use_sliding_window=False),
        "smollm": llama | dict(hidden_size=36, num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True),
        "llama-yarn": llama | dict(rope_scaling=yarn),
        "llama-longrope": llama | dict(rope_scaling=long_rope),
    }


def more_configurations():
    """Families whose layers differ from one another or from a Llama's, each with what it can set."""
    base = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                max_position_embeddings=64, rope_theta=500.0)
    gemma3 = base | dict(model_type="gemma3_text", head_dim=6, num_hidden_layers=3, sliding_window=7, query_pre_attn_scalar=10)
    rope = dict(full_attention=dict(rope_type="linear", factor=4.0, rope_theta=500.0),
                sliding_attention=dict(rope_type="default", rope_theta=50.0))
    phi3 = base | dict(model_type="phi3", num_attention_heads=2, num_key_value_heads=1)
    long_rope = dict(rope_type="longrope", short_factor=[1.0, 1.5], long_factor=[2.0, 5.0])
    smollm3 = base | dict(model_type="smollm3", num_hidden_layers=3)
    experts = dict(num_experts_per_tok=2, moe_intermediate_size=8)
    return {
        "gemma3": gemma3 | dict(layer_types=["sliding_attention", "full_attention", "sliding_attention"], rope_parameters=rope,
                                final_logit_softcapping=5.0),
        "gemma3-plain": gemma3 | dict(sliding_window_pattern=2, attention_bias=True, tie_word_embeddings=False,
                                      attn_logit_softcapping=3.0, rope_local_base_freq=100.0),
        "phi3": phi3 | dict(sliding_window=7, partial_rotary_factor=0.75),
        "phi3-longrope": phi3 | dict(rope_scaling=long_rope, partial_rotary_factor=0.5, original_max_position_embeddings=20,
                                     tie_word_embeddings=True),
        "smollm3": smollm3 | dict(no_rope_layer_interval=2),
        "smollm3-window": smollm3 | dict(no_rope_layers=[0, 1, 1], use_sliding_window=True, sliding_window=7,
                                         attention_bias=True, mlp_bias=True, tie_word_embeddings=False),
        "olmo2": base | dict(model_type="olmo2"),
        "olmo2-biases": base | dict(model_type="olmo2", attention_bias=True, num_key_value_heads=4, tie_word_embeddings=True),
        "qwen2-window": base | dict(model_type="qwen2", use_sliding_window=True, sliding_window=7, max_window_layers=1),
        "qwen3-moe": base | experts | dict(model_type="qwen3_moe", head_dim=6, num_hidden_layers=3, num_experts=4,
                                           mlp_only_layers=[1]),
        "qwen3-moe-normalised": base | experts | dict(model_type="qwen3_moe", head_dim=6, num_experts=4, norm_topk_prob=True,
                                                      use_sliding_window=True, sliding_window=7, tie_word_embeddings=True),
        "mixtral": base | dict(model_type="mixtral", intermediate_size=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=7),
    }


# How the files are laid out, where not as one file of 32-bit floats.
LAYOUT = {"llama3": dict(dtype=torch.float16), "mistral": dict(dtype=torch.bfloat16), "qwen2": dict(max_shard_size="12KB")}


def logits_of(model, tokens):
    with torch.no_grad():
        return model(torch.tensor(tokens), use_cache=False).logits


def greedy(model, prompt, count):
    """By whole forward passes: no generation settings, no cache."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(logits_of(model, [tokens])[0, -1].argmax()))
    return tokens[len(prompt):]


def write_expected(directory, model, tokens, prompt, count=WRITTEN):
    rows = [[round(x, 5) for x in row] for row in logits_of(model, tokens).flatten(0, 1).tolist()]
    text = ",\n".join(json.dumps(row) for row in rows)
    fields = json.dumps(dict(tokens=tokens, prompt=prompt, greedy=greedy(model, prompt, count)))[1:-1]
    (directory / "logits.json").write_text(f'{{{fields}, "logits": [\n{text}\n]}}\n')


def random_model(configuration):
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**configuration), attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():  # large enough that a wrong place shows
            parameter.normal_(0.0 if parameter.dim() > 1 else 0.5, 0.3)
    return model.eval()


def record():
    fixtures = here / "fixtures"
    torch.manual_seed(0)
    tokens = torch.randint(0, VOCAB, (2, TIME)).tolist()
    for name, configuration in configurations().items():
        record_model(fixtures, name, configuration, tokens)
    record_adapters(fixtures, tokens, {"llama": dict(target_modules=["q_proj", "v_proj", "down_proj"]),
                                       "gpt2": dict(target_modules=["c_attn", "mlp.c_proj"], fan_in_fan_out=True)})
    torch.manual_seed(1)
    for name, configuration in more_configurations().items():
        # Long enough that LongRoPE changes its frequencies on the way.
        record_model(fixtures, name, configuration, tokens, count=20 if name.endswith("longrope") else WRITTEN)
    record_adapters(fixtures, tokens, {"phi3": dict(target_modules=["qkv_proj", "gate_up_proj", "down_proj"])})


def record_model(fixtures, name, configuration, tokens, count=WRITTEN):
    special = dict(vocab_size=VOCAB, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    layout = dict(LAYOUT.get(name, {}))
    model = random_model(configuration | special)
    dtype = layout.pop("dtype", torch.float32)
    directory = fixtures / name
    model.to(dtype).save_pretrained(directory, **layout)
    # Read again: a model that was 16 bits wide once has rounded rotary frequencies too.
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    write_expected(directory, model, tokens, tokens[0][:5], count)


def record_adapters(fixtures, tokens, targets):
    from peft import LoraConfig, get_peft_model
    for name, target in targets.items():
        base = AutoModelForCausalLM.from_pretrained(fixtures / name, attn_implementation="eager").float().eval()
        model = get_peft_model(base, LoraConfig(r=3, lora_alpha=5, lora_dropout=0.0, task_type="CAUSAL_LM", **target)).eval()
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if "lora_" in key:
                    parameter.normal_(0.0, 0.3)
        directory = fixtures / f"{name}-lora"
        model.save_pretrained(directory)
        (directory / "README.md").unlink()
        settings = json.loads((directory / "adapter_config.json").read_text())
        settings["base_model_name_or_path"] = f"../{name}"
        (directory / "adapter_config.json").write_text(json.dumps(settings, indent=2) + "\n")
        write_expected(directory, model, tokens, tokens[0][:5])


def check(directories):
    """Each holds a model, or an adapter beside the directory of its base, and `ours.json`: tokens, logits, greedy; or a reward
    model and `ours.json`: tokens, scores."""
    worst = 0.0
    for directory in map(pathlib.Path, directories):
        ours = json.loads((directory / "ours.json").read_text())
        if "scores" in ours:
            worst = max(worst, check_scores(directory, ours))
            continue
        if (directory / "adapter_config.json").exists():
            from peft import PeftModel
            base = AutoModelForCausalLM.from_pretrained(directory / ours["base"], dtype=torch.float32)
            model = PeftModel.from_pretrained(base, directory).eval()
        else:
            model, found = AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True, dtype=torch.float32)
            faults = {key: list(found[key]) for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if found[key]}
            assert not faults, f"{directory}: {faults}"
            model = model.eval()
        logits = logits_of(model, ours["tokens"]).flatten(0, 1)
        difference = (logits - torch.tensor(ours["logits"])).abs().max().item()
        assert difference < 1e-4, f"{directory}: logits differ by {difference}"
        assert greedy(model, ours["prompt"], len(ours["greedy"])) == ours["greedy"], f"{directory}: greedy"
        settings = model.generation_config
        special = {name: getattr(settings, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        assert all(special[name] == ours[name] for name in special if name in ours), f"{directory}: {special}"
        worst = max(worst, difference)
        print(f"{directory.name}: {difference:.2e}")
    print(f"greatest difference {worst:.2e}")


def tokenizers(directories):
    """Each holds a tokenizer and `ours.json`: texts and their tokens, and for some a chat with its tokens and mask."""
    for directory in map(pathlib.Path, directories):
        ours = json.loads((directory / "ours.json").read_text())
        tokenizer = AutoTokenizer.from_pretrained(directory)
        for text, tokens in zip(ours["texts"], ours["tokens"], strict=True):
            assert tokenizer(text, add_special_tokens=False).input_ids == tokens, f"{directory}: {text!r}"
        assert len(tokenizer) == ours["vocab_size"], f"{directory}: {len(tokenizer)} tokens"
        if chat := ours.get("chat"):
            found = tokenizer.apply_chat_template(chat["messages"], return_dict=True, return_assistant_tokens_mask=True)
            assert found["input_ids"] == chat["tokens"], f"{directory}: tokens of the chat"
            assert found["assistant_masks"] == [int(learned) for learned in chat["mask"]], f"{directory}: mask of the chat"
        print(f"{directory.name}: {len(ours['texts'])} texts{', a chat' if chat else ''}")


def check_scores(directory, ours):
    """Rows of different lengths at once, padded as the model's own files say; the bias is ours."""
    model, found = AutoModelForSequenceClassification.from_pretrained(directory, output_loading_info=True, dtype=torch.float32)
    assert not any(found[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), f"{directory}: {found}"
    pad, longest = model.config.pad_token_id, max(map(len, ours["tokens"]))
    rows = torch.tensor([row + [pad] * (longest - len(row)) for row in ours["tokens"]])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ours["tokens"]])
    with torch.no_grad():
        scores = model.eval()(rows, attention_mask=mask, use_cache=False).logits[:, 0] + model.config.score_bias
    difference = (scores - torch.tensor(ours["scores"])).abs().max().item()
    assert difference < 1e-4, f"{directory}: scores differ by {difference}"
    print(f"{directory.name}: scores differ by at most {difference:.2e}")
    return difference


PROMPTS = ["The capital of France is", "def fibonacci(n):\n", "Once upon a time, in a small village",
           "Q: What is 12 * 7?\nA:", "Ünïcode, 数学 and 🙂 are"]


def real(path):
    """On standard output as JSON: the prompts' tokens, logits, and greedy continuations.

    Logits are computed in 64 bits: in 32, thirty layers round those of transformers by 5e-5 and ours too, and the two
    together may be 1e-4 apart.
    """
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    exact = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval().double()
    chat = [{"role": "system", "content": "You are terse."}, {"role": "user", "content": "Hello?"},
            {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "Why?"}]
    cases = []
    for prompt in PROMPTS:
        tokens = tokenizer(prompt, add_special_tokens=False).input_ids
        cases.append(dict(prompt=prompt, tokens=tokens, logits=logits_of(exact, [tokens])[0].flatten().tolist(),
                          greedy=greedy(model, tokens, 24)))
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    json.dump(dict(cases=cases, chat=chat, chat_text=text), sys.stdout)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["record"]: record()
        case ["check", *directories] if directories: check(directories)
        case ["tokenizers", *directories] if directories: tokenizers(directories)
        case ["real", path]: real(path)
        case _: sys.exit(__doc__)
