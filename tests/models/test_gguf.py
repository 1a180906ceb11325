"""A GGUF file is the model that it was written from, unpacked once and kept."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import transformers
from language_models import make_model
from numpy.typing import NDArray

from chord.models.hf.config import HFModel
from chord.models.hf.gguf import unpacked

IDS = torch.tensor([[5, 6, 7, 8, 9]])


def write_gguf(directory: Path, file: Path, *, without: str | None = None) -> Path:
    """Write a saved Llama in the format's own names and order of rotated dimensions."""
    model = transformers.LlamaForCausalLM.from_pretrained(directory)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    config = model.config
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    # The format wants a merge; blanks and line ends have its own signs.
    signs = {"~": "12", " ": "\u0120", "\n": "\u010a"}
    tokens = [
        signs.get(token, token) for token in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * len(tokens))
    writer.add_token_merges(["1 2"])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, value in model.state_dict().items():
        if name == without:
            continue
        array = value.numpy()
        if "q_proj" in name:
            array = interleaved(array, config.num_attention_heads)
        if "k_proj" in name:
            array = interleaved(array, config.num_key_value_heads)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def interleaved(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """A head's two halves, which are rotated together, as even and odd rows."""
    halves = weight.reshape(heads, 2, -1, weight.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


def test_a_file_is_unpacked_once_to_the_model_that_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHORD_CACHE", str(tmp_path / "cache"))
    directory = make_model(tmp_path / "model")
    file = write_gguf(directory, tmp_path / "small.gguf")
    own, packed = HFModel(path=str(directory)), HFModel(path=str(file))
    with torch.no_grad():
        torch.testing.assert_close(packed.build()(IDS), own.build()(IDS))
    assert "reading small.gguf, once" in capsys.readouterr().out
    (kept,) = (tmp_path / "cache").iterdir()
    assert kept.name.startswith("small-")
    assert unpacked(file) == kept
    one, other = (model.tokenizer().inner.encode("7+8 is?\n15") for model in (own, packed))
    assert one == other
    assert capsys.readouterr().out == ""
    # Once it is unpacked, a dry run compares lengths with its context.
    assert packed.shape() == own.shape()
    assert own.shape() is not None


def test_a_file_that_lacks_a_weight_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHORD_CACHE", str(tmp_path / "cache"))
    name, directory = "model.layers.1.mlp.up_proj.weight", make_model(tmp_path / "model")
    file = write_gguf(directory, tmp_path / "small.gguf", without=name)
    with pytest.raises(ValueError, match=rf"its files lack {name}, which LlamaForCausalLM has\)$"):
        HFModel(path=str(file)).build()
    assert not list((tmp_path / "cache").iterdir())


def test_a_file_that_is_no_model_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHORD_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF and nothing else")
    with pytest.raises(ValueError, match=r"^model\.path=.*broken\.gguf: can't be loaded \(.+\)$"):
        HFModel(path=str(file)).build()
    assert not list((tmp_path / "cache").iterdir())
