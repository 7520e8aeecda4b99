"""Make the tiny models that the tests of real servers run: ``python make_models.py DIRECTORY``.

No hub is asked for anything: the tokenizer is trained here on a few sentences, and the weights are random numbers with
a fixed seed. So the models write nonsense, always the same. What is made::

    DIRECTORY/tiny-llama/          two layers of the Llama architecture, for transformers and vLLM
    DIRECTORY/tiny-llama.gguf      the same weights for llama.cpp
    DIRECTORY/tiny-qwen2/          another architecture, for tests with two models
    DIRECTORY/tiny-qwen2.gguf
    DIRECTORY/one-lora/            two adapters of the first one, for vLLM
    DIRECTORY/other-lora/

It runs where torch, transformers, tokenizers, safetensors and gguf are installed, which is not the environment of the
tests.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import gguf
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

VOCABULARY = 384
"""Every byte, the special tokens, and room for some hundred merges."""

CONTEXT = 2048

RANK = 8
"""Of the adapters; vLLM takes none below that."""

SENTENCES = [
    "A model is opened once and leased to everyone who asks.",
    "The quick brown fox jumps over the lazy dog.",
    "What is the capital of France? The capital of France is Paris.",
    "Say hello in three words: hello, hello, hello.",
    "The user asks a question and the assistant answers it.",
    "Servers are started once, shared by everything that runs, and never left behind.",
]

PAD, BEGIN, END = "<|pad|>", "<|im_start|>", "<|im_end|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,  # of 32 each, the smallest that vLLM takes on a CPU
    "num_key_value_heads": 1,
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of exactly `VOCABULARY` tokens, special tokens first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    assert tokenizer.get_vocab_size() == VOCABULARY, tokenizer.get_vocab_size()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BEGIN, eos_token=END, model_max_length=CONTEXT
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_model(architecture: str, tokenizer: PreTrainedTokenizerFast) -> Any:
    """A model with random weights; the same ones every time."""
    torch.manual_seed(0)
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if architecture == "llama":
        model = LlamaForCausalLM(LlamaConfig(**SIZES, **ids))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**SIZES, **ids))
    with torch.no_grad():  # logits of zero, which others always exceed: it writes what can be read, and goes on
        model.lm_head.weight[_unreadable(tokenizer)] = 0
    model.generation_config = GenerationConfig(**ids, max_new_tokens=16)
    return model.eval()


def _unreadable(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The tokens that are special, or bytes that are no letters by themselves."""
    special = set(tokenizer.all_special_ids)
    tokens = range(VOCABULARY)
    return [token for token in tokens if token in special or not tokenizer.decode([token]).strip(" ").isalpha()]


def save_hf(model: Any, tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Write what transformers and vLLM read."""
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def save_adapter(seed: int, directory: Path) -> None:
    """Write a LoRA adapter of the Llama model, with weights so large that it writes something else."""
    torch.manual_seed(seed)
    size, head = SIZES["hidden_size"], SIZES["hidden_size"] // SIZES["num_attention_heads"]
    outputs = {"q_proj": size, "v_proj": head * SIZES["num_key_value_heads"]}
    weights = {}
    for layer, (name, output) in itertools.product(range(SIZES["num_hidden_layers"]), outputs.items()):
        prefix = f"base_model.model.model.layers.{layer}.self_attn.{name}"
        weights[f"{prefix}.lora_A.weight"] = torch.randn(RANK, size)
        weights[f"{prefix}.lora_B.weight"] = torch.randn(output, RANK)
    directory.mkdir(exist_ok=True)
    save_file(weights, directory / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 8 * RANK, "bias": "none"}
    (directory / "adapter_config.json").write_text(json.dumps({**config, "target_modules": [*outputs]}), "utf-8")


def save_gguf(architecture: str, model: Any, tokenizer: PreTrainedTokenizerFast, path: Path) -> None:
    """Write what llama.cpp reads: names of its own, and for Llama the rows of Q and K in another order."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(path.stem)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(SIZES["hidden_size"])
    writer.add_block_count(SIZES["num_hidden_layers"])
    writer.add_feed_forward_length(SIZES["intermediate_size"])
    writer.add_head_count(SIZES["num_attention_heads"])
    writer.add_head_count_kv(SIZES["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(SIZES["rms_norm_eps"])
    writer.add_rope_dimension_count(SIZES["hidden_size"] // SIZES["num_attention_heads"])
    writer.add_rope_freq_base(10000.0)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_vocabulary(writer, tokenizer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], SIZES["num_hidden_layers"])
    for name, tensor in model.state_dict().items():
        ours = names.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(ours, _as_in_gguf(architecture, name, tensor).float().contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    special = set(tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types(
        [gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token, _ in vocabulary]
    )
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _as_in_gguf(architecture: str, name: str, weight: Any) -> Any:
    """llama.cpp turns neighbouring pairs of a Llama head, transformers its halves."""
    if architecture != "llama" or not name.endswith(("q_proj.weight", "k_proj.weight")):
        return weight
    heads = SIZES["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the tiny models.")
    parser.add_argument("directory", type=Path)
    directory: Path = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    for architecture in ("llama", "qwen2"):
        model = make_model(architecture, tokenizer)
        save_hf(model, tokenizer, directory / f"tiny-{architecture}")
        save_gguf(architecture, model, tokenizer, directory / f"tiny-{architecture}.gguf")
    for seed, name in enumerate(("one-lora", "other-lora"), 1):
        save_adapter(seed, directory / name)


if __name__ == "__main__":
    main()
