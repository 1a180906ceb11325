"""A model that can't be had is said in one sentence, most often before torch is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import make_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from chord.errors import ConfigError
from chord.io.extras import install
from chord.models.hf.config import HFModel, HFTeacher
from chord.models.hf.settings import Lora


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/no/such/dir", "model.path=/no/such/dir: no such directory or .gguf file"),
        ("./models", "model.path=./models: no such directory or .gguf file"),
        ("a/b/c", "model.path=a/b/c: no such directory or .gguf file"),
        ("", "model.path=: no such directory or .gguf file"),
        ("pkg://no_such_package/x.gguf", "the package no_such_package is not installed; pip in"),
        ("pkg://chord/x.gguf", "the package chord has no file x.gguf"),
    ],
)
def test_a_path_that_is_none_is_refused(path: str, message: str) -> None:
    with pytest.raises(ValueError, match="path") as refused:
        HFModel(path=path)
    assert message in str(refused.value)
    with pytest.raises(ValueError, match=r"teacher.path"):
        HFTeacher(path=path)


def test_a_directory_or_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no config.json, so no model of transformers"):
        HFModel(path=str(tmp_path))
    (tmp_path / "weights.bin").write_text("x")
    with pytest.raises(ValueError, match=r"is a file but not .gguf; name the model's directory"):
        HFModel(path=str(tmp_path / "weights.bin"))


def test_of_weights_in_a_pickle_no_advice_is_given_to_run_its_code(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    for file in model.glob("*.safetensors"):
        file.unlink()
    torch.save({"a": Path}, model / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"its files hold more than tensors, which is not read"):
        HFModel(path=str(model)).build()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "int8"}, "model.dtype=int8: must be one of float32, bfloat16, float16"),
        ({"attention": "fast"}, "model.attention=fast: must be one of auto, sdpa, eager, flash"),
        ({"context": 1}, "model.context=1: must be at least 2"),
        ({"chat": False, "system": "x"}, "model.system: needs model.chat=true"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=r"model\.") as refused:
        HFModel(path="org/name", **settings)  # type: ignore[arg-type]
    assert message in str(refused.value)


def test_adapters_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"model.lora.rank=-1: must be at least 0"):
        Lora(rank=-1)
    with pytest.raises(ValueError, match=r"model.lora.alpha=0: must be greater than 0"):
        Lora(alpha=0)


def test_a_target_that_is_no_layer_is_refused_with_those_there_are(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model")
    with pytest.raises(ValueError, match=r"query is no linear layer of this model \(there are:"):
        HFModel(path=str(path), lora=Lora(rank=2, targets=["query"])).build()


def test_compiling_without_a_compiler_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match=r"^model\.compile=true: .* no no-such-compiler here"):
        HFModel(path=str(make_model(tmp_path / "model")), compile=True).build()


def test_a_context_beyond_the_models_is_refused(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model")
    with pytest.raises(ValueError, match=r"model.context=500: must be at most 128"):
        HFModel(path=str(path), context=500).build()


def damage_weights(path: Path) -> None:
    (path / "model.safetensors").write_bytes(b"\x10" * 64)


def lose_weights(path: Path) -> None:
    (path / "model.safetensors").unlink()


def damage_config(path: Path) -> None:
    (path / "config.json").write_text("{")


def other_kind(path: Path) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"model_type": "unheard_of"}))


def without_a_layer(name: str, weight: Tensor) -> Tensor | None:
    return None if ".layers.1." in name else weight


def without_output_layer(name: str, weight: Tensor) -> Tensor | None:
    return None if name == "lm_head.weight" else weight


def of_another_shape(name: str, weight: Tensor) -> Tensor | None:
    return weight[:4].clone() if name == "model.layers.0.mlp.up_proj.weight" else weight


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_a_layer, "its files lack model.layers.1.input_layernorm.weight and 8 more, which"),
        (without_output_layer, "its files lack lm_head.weight, which LlamaForCausalLM has"),
        (of_another_shape, "up_proj.weight has the shape [4, 16] in its files, but is [32, 16] in"),
    ],
)
@pytest.mark.parametrize("kind", [HFModel, HFTeacher])
def test_weights_that_the_files_lack_are_not_drawn_at_random(
    tmp_path: Path,
    kind: type[HFModel | HFTeacher],
    change: Callable[[str, Tensor], Tensor | None],
    message: str,
) -> None:
    path = make_model(tmp_path / "model")
    file = path / "model.safetensors"
    changed = {name: change(name, weight) for name, weight in load_file(file).items()}
    save_file({n: w for n, w in changed.items() if w is not None}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"can't be loaded \(") as refused:
        kind(path=str(path)).build()
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_output_layer_that_is_the_embedding_and_weights_of_others_are_no_lack(
    tmp_path: Path,
) -> None:
    path = make_model(tmp_path / "model", tie_word_embeddings=True)
    held = load_file(path / "model.safetensors")
    assert "lm_head.weight" not in held
    held["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    save_file(held, path / "model.safetensors", {"format": "pt"})
    policy = HFModel(path=str(path)).build()
    tokens = policy.causal.get_input_embeddings().weight
    assert torch.equal(policy.causal.get_output_embeddings().weight, tokens)
    assert torch.equal(tokens, held["model.embed_tokens.weight"])


@pytest.mark.parametrize("harm", [damage_weights, lose_weights, damage_config, other_kind])
def test_a_damaged_directory_is_one_sentence(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    path = make_model(tmp_path / "model")
    harm(path)
    with pytest.raises(ValueError, match=r"model.path=.*: can't be loaded \(.*\)$") as refused:
        HFModel(path=str(path)).build()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("llama", r"one of: \(1\) a `tokenizers` library serialization file, \(2\) .*"),
        ("qwen2", r"it holds no tokenizer, as tokenizer.save_pretrained writes it"),
        ("gpt2", r"it holds no tokenizer, as tokenizer.save_pretrained writes it"),
    ],
)
def test_a_directory_without_a_tokenizer_is_one_sentence(
    tmp_path: Path, family: str, message: str
) -> None:
    """Of the last two transformers makes an empty tokenizer, without a word."""
    path = make_model(tmp_path / "model", family)
    for file in path.glob("*token*"):
        file.unlink()
    with pytest.raises(ValueError, match=rf"model.path=.*: can't be loaded \(.*{message}\)$"):
        HFModel(path=str(path)).tokenizer()


def test_a_base_model_without_a_template_says_what_to_do(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model", chat=False)
    with pytest.raises(ValueError, match=r"model.chat=false writes prompts as plain text"):
        HFModel(path=str(path)).tokenizer()
    assert HFModel(path=str(path), chat=False).tokenizer().eos_id == 2


def test_an_output_layer_that_is_not_all_there_is_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    path, forward = make_model(tmp_path / "model"), LlamaForCausalLM.forward

    def scaled(self: LlamaForCausalLM, *args: object, **kwargs: object) -> object:
        output = forward(self, *args, **kwargs)
        output.logits = output.logits * 2
        return output

    monkeypatch.setattr(LlamaForCausalLM, "forward", scaled)
    with pytest.raises(ValueError, match=r"LlamaForCausalLM changes its logits behind the output"):
        HFModel(path=str(path)).build()


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("rwkv", r"RwkvForCausalLM answers otherwise with a cache than without one$"),
        ("minimax", r"MiniMaxForCausalLM can't be used \(MiniMax uses cache of its own .*\)$"),
    ],
)
def test_a_model_with_a_cache_of_its_own_answers_nothing(
    tmp_path: Path, family: str, message: str
) -> None:
    sizes: dict[str, Any] = {
        "rwkv": {"attention_hidden_size": 16},
        "minimax": {"num_key_value_heads": 2},
    }
    path = make_model(tmp_path / "model", family, **sizes[family])
    with pytest.raises(ValueError, match=rf"^model\.path=.*: {message}"):
        HFModel(path=str(path)).build()


def test_damaged_weights_are_said_to_be_so(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    path = make_model(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(path)
    with torch.no_grad():
        model.get_decoder().layers[0].mlp.down_proj.weight[3, 3] = torch.nan
    model.save_pretrained(tmp_path / "damaged")
    for name in path.glob("token*"):
        (tmp_path / "damaged" / name.name).write_bytes(name.read_bytes())
    with pytest.raises(ConfigError, match=r"computes NaN or infinity for ordinary tokens"):
        HFModel(path=str(tmp_path / "damaged")).build()


def test_wrong_paths_are_said_without_torch() -> None:
    code = (
        "import sys\nfrom chord.models.hf.config import HFModel\n"
        "try: HFModel(path='/no/such')\nexcept ValueError as error: print(error)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "model.path=/no/such: no such directory or .gguf file\n"


def test_a_missing_library_is_named_with_what_installs_it(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model")
    program = (
        "import sys; sys.modules['transformers'] = None\n"
        "from chord.models.hf.config import HFModel\n"
        f"for call in ('build', 'tokenizer'):\n"
        f"    try: getattr(HFModel(path={str(path)!r}), call)()\n"
        "    except ValueError as error: print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    line = f"model=hf: needs the transformers library; {install('hf')}\n"
    assert (found.stdout, found.stderr) == (2 * line, "")
