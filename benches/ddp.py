#!/usr/bin/env python3
"""Steps of PyTorch's DistributedDataParallel on gloo, for benches/ranks.sh.

    OMP_NUM_THREADS=1 python3 benches/ddp.py MODEL RANKS ROWS WINDOW STEPS

Trains a model in Hugging Face's layout on random tokens, in 32 bits, by AdamW with clipping to a norm of 1. Prints for each step
a line of JSON with its seconds, and the bytes that a rank sends in the ring by which gloo adds gradients.
"""
import json, os, sys, time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from transformers import AutoModelForCausalLM


def train(rank, model, ranks, rows, window, steps):
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29511")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="sdpa")
    network.train()
    network.config.use_cache = False
    size = sum(parameter.numel() for parameter in network.parameters())
    trained = DistributedDataParallel(network) if ranks > 1 else network
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-5)
    generator = torch.Generator().manual_seed(rank)
    for _ in range(steps):
        tokens = torch.randint(10, network.config.vocab_size, (rows, window), generator=generator)
        dist.barrier()
        began = time.perf_counter()
        trained(input_ids=tokens, labels=tokens).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds = time.perf_counter() - began
        if rank == 0:
            print(json.dumps({"seconds": seconds, "bytes": 8 * size * (ranks - 1) / ranks}), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    model, (ranks, rows, window, steps) = sys.argv[1], map(int, sys.argv[2:])
    torch.multiprocessing.spawn(train, (model, ranks, rows, window, steps), nprocs=ranks)
