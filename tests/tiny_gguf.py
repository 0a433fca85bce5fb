"""A language model of a few thousand random weights in a GGUF file: nonsense by the whole path, in milliseconds."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

WIDTH, INNER, HEADS = 32, 64, 2
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


def write(path: Path, *, seed: int = 0, context: int = 32768) -> Path:
    """A llama of one layer whose tokens are ASCII's characters; other bytes are read, and never written."""
    characters = ["\u2581" if code == 32 else chr(code) for code in (10, *range(32, 127))]
    tokens = ["<unk>", "<s>", "</s>", *characters, *(f"<0x{byte:02X}>" for byte in range(256))]
    kind = gguf.TokenType
    kinds = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL, *[kind.NORMAL] * len(characters), *[kind.BYTE] * 256]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(number) for number in range(len(tokens))])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)

    random = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) * 0.5).astype(np.float32)

    output = weights(len(tokens), WIDTH)
    output[-256:] = 0  # far below the best token's logit
    ones = np.ones(WIDTH, np.float32)
    tensors = {"token_embd": weights(len(tokens), WIDTH), "output_norm": ones, "output": output}
    tensors |= {f"blk.0.{name}": ones for name in ("attn_norm", "ffn_norm")}
    tensors |= {f"blk.0.attn_{name}": weights(WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
    tensors |= {f"blk.0.ffn_{name}": weights(INNER, WIDTH) for name in ("gate", "up")}
    tensors["blk.0.ffn_down"] = weights(WIDTH, INNER)
    for name, values in tensors.items():
        writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
