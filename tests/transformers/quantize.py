"""Records what bitsandbytes makes of a matrix in 8 and 4 bits, for the tests of crates/model/src/quantize.

    pip install bitsandbytes==0.50.2
    python tests/transformers/quantize.py > crates/model/src/quantize/bitsandbytes.json
"""

import json

import bitsandbytes.functional as bitsandbytes
import torch

BLOCKS = 260  # of 64 numbers: more than share a scale of scales

# The kernel for CPUs is not exact for a number nearly midway between two codes. This matrix has none.
numbers = [((i * 7919) % 10007 - 5003) / 5003 * (1 + i // 64 % 16) / 1000 for i in range(64 * BLOCKS)]
matrix = torch.tensor(numbers, dtype=torch.float64).float().reshape(20, -1)

codes, state = bitsandbytes.quantize_4bit(matrix, blocksize=64, compress_statistics=True, quant_type="nf4")
back = bitsandbytes.dequantize_4bit(codes, state)
nf4 = {
    "levels": state.code.tolist(),
    "scale_levels": state.state2.code.tolist(),
    "codes": bytes(codes.flatten().tolist()).hex(),
    "scale_codes": bytes(state.absmax.tolist()).hex(),
    "scales": state.state2.absmax.tolist(),
    "mean": state.offset.item(),
    "first_row": back[0].tolist(),
    "sum": back.double().sum().item(),
    "sum_of_squares": back.double().square().sum().item(),
}

codes, scales, _ = bitsandbytes.int8_vectorwise_quant(matrix[:2])
int8 = {"codes": bytes(code & 255 for code in codes.flatten().tolist()).hex(), "scales": scales.tolist()}

print(json.dumps({"nf4": nf4, "int8": int8}))
