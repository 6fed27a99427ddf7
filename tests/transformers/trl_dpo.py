#!/usr/bin/env python3
"""The other side of the test of direct preference optimisation: what TRL's DPOTrainer computes.

    python3 tests/transformers/trl_dpo.py record        writes fixtures/trl-dpo.json, which the Rust test reads
    python3 tests/transformers/trl_dpo.py check OURS    trains again, and compares with what Palestra wrote

The same tiny model (fixtures/llama), the same pairs in the same order, 20 steps of AdamW with each loss. The environment is
that of parity.py. A Rust test that `cargo xtask parity` runs calls `check`.
"""
import json, pathlib, random, sys, tempfile

import environment

environment.enter()
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

here = pathlib.Path(__file__).resolve().parent
fixture = here / "fixtures/trl-dpo.json"
VOCAB, STEPS, BATCH = 40, 20, 4
SETTINGS = dict(beta=0.1, learning_rate=5e-3, max_grad_norm=1.0, eps=1e-8)
LOSSES = ["sigmoid", "ipo", "hinge"]
MEASURED = ["loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected"]


def pairs():
    """Prompts and answers of different lengths, which come four times; 2 ends an answer."""
    draw = random.Random(0)
    tokens = lambda low, high: [draw.randrange(3, VOCAB) for _ in range(draw.randrange(low, high))]
    return [dict(prompt_ids=tokens(2, 9), chosen_ids=tokens(1, 12) + [2], rejected_ids=tokens(1, 12) + [2])
            for _ in range(STEPS * BATCH // 4)] * 4


class InOrder(DPOTrainer):
    """TRL's trainer on rows that are tokens already, in their order."""

    def _prepare_dataset(self, dataset, *_):
        return dataset

    def _get_train_sampler(self, dataset=None):
        return SequentialSampler(self.train_dataset)


def train(loss, rows):
    words = {f"t{token}": token for token in range(VOCAB)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="t0")),
                                        pad_token="t0", eos_token="t2")
    model = AutoModelForCausalLM.from_pretrained(here / "fixtures/llama", dtype=torch.float32)
    with tempfile.TemporaryDirectory() as out:
        settings = DPOConfig(
            out, loss_type=[loss], beta=SETTINGS["beta"], learning_rate=SETTINGS["learning_rate"], max_steps=STEPS,
            per_device_train_batch_size=BATCH, gradient_accumulation_steps=1, lr_scheduler_type="constant", warmup_steps=0,
            weight_decay=0.0, adam_epsilon=SETTINGS["eps"], max_grad_norm=SETTINGS["max_grad_norm"], optim="adamw_torch",
            logging_steps=1, disable_tqdm=True, save_strategy="no", report_to=[], use_cpu=True, bf16=False, fp16=False,
            gradient_checkpointing=False, disable_dropout=True, max_length=None, seed=0)
        trainer = InOrder(model=model, args=settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
        trainer.train()
    steps = [line for line in trainer.state.log_history if "rewards/chosen" in line]
    assert len(steps) == STEPS, trainer.state.log_history
    return [{name: step[name] for name in MEASURED} for step in steps]


def record():
    rows = pairs()
    runs = {loss: train(loss, rows) for loss in LOSSES}
    settings = json.dumps(SETTINGS | dict(batch=BATCH))
    lines = lambda items: ",\n".join(map(json.dumps, items))
    losses = ",\n".join(f'"{loss}": [\n{lines(run)}\n]' for loss, run in runs.items())
    fixture.write_text(f'{{"settings": {settings},\n"pairs": [\n{lines(rows)}\n],\n"runs": {{\n{losses}\n}}}}\n')


def check(path):
    rows = json.loads(fixture.read_text())["pairs"]
    ours = json.loads(pathlib.Path(path).read_text())
    for loss, steps in ours.items():
        theirs = train(loss, rows)
        worst = {name: max(abs(step[name] - expected[name]) for step, expected in zip(steps, theirs)) for name in MEASURED}
        assert all(worst[name] < 1e-3 for name in ["loss", "rewards/chosen", "rewards/rejected"]), f"{loss}: {worst}"
        print(f"{loss}: " + ", ".join(f"{name} {difference:.1e}" for name, difference in worst.items()))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["record"]: record()
        case ["check", path]: check(path)
        case _: sys.exit(__doc__)
