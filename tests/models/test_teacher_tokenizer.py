"""A language model's teacher has the policy's tokenizer; its padded logits may be more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import SMALL, compose_config
from language_models import CHATML, SPECIAL, make_model, make_tokenizer
from omegaconf import DictConfig

from chord.cache_teacher import main
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.models.hf.config import HFTeacher
from chord.run.build import build_data, build_models, check_models
from chord.run.directory import RunDirectory
from chord.run.training import train

TOKENS = 99
"""Of the tokenizer: 96 characters and three special ones."""


def composed(policy: Path, teacher: Path, *overrides: str) -> DictConfig:
    return compose_config(
        *SMALL,
        "model=hf",
        f"model.path={policy}",
        "teacher=hf",
        f"teacher.path={teacher}",
        "weighting=adaptive",
        *overrides,
    )


def check(policy: Path, teacher: Path) -> None:
    config = parse(composed(policy, teacher), TrainConfig)
    check_models(config, build_models(config), build_data(config))


def edited(file: Path, change: Callable[[dict[str, dict[str, dict[str, int]]]], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def permute(directory: Path) -> None:
    def change(content: dict[str, dict[str, dict[str, int]]]) -> None:
        ids = content["model"]["vocab"]
        ids["1"], ids["2"] = ids["2"], ids["1"]

    edited(directory / "tokenizer.json", change)


def rename(directory: Path) -> None:
    def change(content: dict[str, dict[str, dict[str, int]]]) -> None:
        ids = content["model"]["vocab"]
        ids["é"] = ids.pop("1")

    edited(directory / "tokenizer.json", change)


def end_otherwise(directory: Path) -> None:
    tokenizer = make_tokenizer(eos_token=SPECIAL[0])
    tokenizer.chat_template = CHATML.replace("<|im_end|>", SPECIAL[0])
    tokenizer.save_pretrained(directory)


def lose_tokenizer(directory: Path) -> None:
    for file in directory.glob("tokenizer*"):
        file.unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        # Behind three special tokens stand the characters from the blank on: "1" has the id 20.
        (permute, "the token '1' has the id 21, in the policy's tokenizer 20; "),
        (rename, "the token '1' has the id none, in the policy's tokenizer 20; "),
        (end_otherwise, "its answers end with '<|endoftext|>', the policy's with '<|im_end|>'; "),
        (lose_tokenizer, "can't be loaded ("),
    ],
)
def test_a_teacher_of_another_tokenizer_is_refused(
    tmp_path: Path,
    harm: Callable[[Path], None],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    policy, teacher = make_model(tmp_path / "policy"), make_model(tmp_path / "teacher", seed=1)
    check(policy, teacher)
    harm(teacher)
    with pytest.raises(ConfigError, match=rf"^teacher\.path={teacher}: ") as error:
        check(policy, teacher)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    settings = ["model=hf", f"model.path={policy}", "teacher=hf", f"teacher.path={teacher}"]
    with pytest.raises(SystemExit, match="1"):
        main(["--to", str(tmp_path / "cache.safetensors"), *settings])
    assert message in capsys.readouterr().err


def test_a_teacher_may_have_further_end_tokens(tmp_path: Path) -> None:
    policy, teacher = make_model(tmp_path / "policy"), make_model(tmp_path / "teacher", seed=1)
    (teacher / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 0]}))
    check(policy, teacher)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@torch.no_grad()
def test_logits_beyond_the_policys_are_cut_off(tmp_path: Path, family: str) -> None:
    policy = make_model(tmp_path / "policy", vocab_size=TOKENS + 5)
    teacher = make_model(tmp_path / "teacher", family, seed=1, vocab_size=TOKENS + 29)
    config = parse(composed(policy, teacher), TrainConfig)
    models = build_models(config)
    assert models.teacher is not None
    ids = torch.tensor([[5, 6, 7, TOKENS - 1]])
    whole = models.teacher(ids)
    check_models(config, models, build_data(config))
    assert models.teacher.vocab_size == models.policy.vocab_size == TOKENS + 5
    assert torch.equal(models.teacher(ids), whole[..., : TOKENS + 5])
    assert not any(parameter.requires_grad for parameter in models.teacher.parameters())


def test_fewer_logits_than_the_policys_are_refused(tmp_path: Path) -> None:
    policy = make_model(tmp_path / "policy", vocab_size=TOKENS + 5)
    teacher = make_model(tmp_path / "teacher", seed=1)
    with pytest.raises(ConfigError, match="it has 99 logits, the policy 104 for the same tokens"):
        check(policy, teacher)


def test_a_wider_teacher_teaches_asked_or_from_its_cache(tmp_path: Path) -> None:
    policy = make_model(tmp_path / "policy")
    teacher = make_model(tmp_path / "teacher", seed=1, vocab_size=TOKENS + 29)
    cache = tmp_path / "cache.safetensors"
    settings = ["model=hf", f"model.path={policy}", "teacher=hf", f"teacher.path={teacher}"]
    main(["--to", str(cache), "--k", "200", *settings, "data.expert_pairs=6"])
    losses = []
    for number, given in enumerate(([], [f"target.cache={cache}"])):
        target = ["weighting=uniform", "target=soft", "data.expert_pairs=6", *given]
        config = composed(policy, teacher, *target)
        run = RunDirectory(tmp_path / str(number), config, "run")
        train(parse(config, TrainConfig), run)
        rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
        losses.append([row["loss/sft"] for row in rows])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_test_beds_policy_may_have_a_language_model_for_a_teacher(tmp_path: Path) -> None:
    config = parse(compose_config(*SMALL, "weighting=adaptive"), TrainConfig)
    data, models = build_data(config), build_models(config)
    size = data.tokenizer.vocab_size
    config.teacher = HFTeacher(path=str(make_model(tmp_path / "teacher", vocab_size=size)))
    models.teacher = config.teacher.build()
    check_models(config, models, data)
    models.teacher = HFTeacher(path=str(make_model(tmp_path / "other"))).build()
    with pytest.raises(ConfigError, match=f"teacher.path: .* of 99, the data one of {size}"):
        check_models(config, models, data)
