"""What Hydra leaves out when it composes changes nothing."""

from __future__ import annotations

import pytest
from conftest import compose_anew
from hydra._internal import defaults_list
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf


@pytest.mark.parametrize(
    "words",
    [
        ["experiment=chord_both", "schedule=cosine"],
        ["reward=weighted", "+reward@reward.parts.brief=length"],
        # An option that follows another choice.
        ["advantage=${objective}", "objective=rloo"],
    ],
)
def test_what_is_composed_is_the_same(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lean = compose_anew(*words)
    whole = defaults_list._create_interpolation_map.__wrapped__  # type: ignore[attr-defined]
    monkeypatch.setattr(defaults_list, "_create_interpolation_map", whole)
    monkeypatch.delattr(ConfigStore, "__deepcopy__")
    hydra = compose_anew(*words)
    assert OmegaConf.to_yaml(lean) == OmegaConf.to_yaml(hydra)
    assert {k: OmegaConf.get_type(lean, k) for k in lean} == {
        k: OmegaConf.get_type(hydra, k) for k in hydra
    }
