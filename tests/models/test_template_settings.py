"""A chat template and its variables as settings of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chat_templates import (
    FAMILIES,
    SINGLE,
    inner_of,
)
from language_models import composed, make_model

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.models.hf.config import HFModel

CURLY = "+model.chat_kwargs={enable_thinking: false}"


def test_a_template_file_and_its_variables_are_settings_of_the_model(tmp_path: Path) -> None:
    path, file = make_model(tmp_path / "model", chat=False), tmp_path / "own.jinja"
    file.write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {{ first_words }}{% endif %}"
    )
    config = HFModel(path=str(path), chat_template=str(file), chat_kwargs={"first_words": "Well: "})
    tokenizer = config.tokenizer()
    assert tokenizer.inner.decode(tokenizer.prompt(SINGLE)) == (
        "user: 2+3?<|im_end|>assistant: Well: "
    )
    assert config.files() == {"model.path": str(path), "model.chat_template": str(file)}
    # The template is written with the model, and so are all later prompts.
    tokenizer.inner.save_pretrained(path)
    again = HFModel(path=str(path), chat_kwargs={"first_words": "Well: "}).tokenizer()
    assert again.prompt(SINGLE) == tokenizer.prompt(SINGLE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chat_template": "none.jinja"}, r"^model.chat_template=none.jinja: no such file$"),
        ({"chat_kwargs": {"thinking": True}}, r"^model.chat_kwargs.thinking=True: the chat temp"),
        ({"chat_kwargs": {"messages": []}}, r"^model.chat_kwargs.messages=\[\]: the chat temp"),
        ({"chat_kwargs": {"tokenize": True}}, r"^model.chat_kwargs.tokenize=True: the chat temp"),
        ({"chat": False, "chat_kwargs": {"a": 1}}, r"^model.chat_kwargs: needs model.chat=true"),
        ({"chat": False, "chat_template": "a"}, r"^model.chat_template: needs model.chat=true"),
    ],
)
def test_settings_of_a_template_that_have_no_effect_are_refused(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    path = make_model(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        HFModel(path=str(path), **settings).tokenizer()


def test_variables_of_a_template_are_typed_like_other_settings(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model")
    inner_of(FAMILIES["qwen3"]).save_pretrained(path)
    for typed in ("+model.chat_kwargs.enable_thinking=false", CURLY):
        config = parse(composed(path, "teacher=none", typed), TrainConfig)
        assert config.model.chat_kwargs == {"enable_thinking": False}  # type: ignore[attr-defined]
