"""Hooks of mkdocs: the configuration reference from `conf/`, and the notebook as a page."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from chord.config.location import CONF_DIR
from chord.config.messages import GROUP_ORDER, first_comment
from chord.config.registry import SCHEMAS

MARKER = "<!-- options -->"
NOTEBOOK = "<!-- notebook -->"
_BASE = re.compile(r"^defaults: \[(\w+), .*_self_\]$", re.MULTILINE)
_SCHEMA = re.compile(r"^defaults: \[/schema/(\w+)/(\w+)@_here_, .*_self_\]$", re.MULTILINE)
_LINE = re.compile(r"^( *)([a-z_]\w*):(?: +(?!#)(.*?))?(?: +# (.*))?$")


@dataclass(frozen=True)
class Setting:
    """A setting of a YAML file: its full name, its value and its comment."""

    name: str
    value: str
    comment: str


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the markers in a page with the reference or the notebook."""
    if NOTEBOOK in markdown:
        return markdown.replace(NOTEBOOK, notebook(Path(__file__).with_name("first-study.ipynb")))
    return markdown.replace(MARKER, reference()) if MARKER in markdown else markdown


def notebook(path: Path) -> str:
    """Return the cells of a notebook as Markdown, without its title, because the page has one."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            language, code = "python", source
            if source.startswith("%%bash"):
                language, code = "bash", source.partition("\n")[2]
            source = f"```{language}\n{code}\n```"
        parts.append(source)
    return "\n\n".join(parts).partition("\n")[2]


def reference() -> str:
    """Return all groups, options and settings of `chord.train`, in the order of a train step."""
    return "\n\n".join(_group(name) for name in GROUP_ORDER)


def settings(path: Path, prefix: str = "") -> list[Setting]:
    """Return the settings of a YAML file under their full names, without `defaults` and `hydra`."""
    found: list[Setting] = []
    parents: list[str] = []
    for line in path.read_text().splitlines():
        match = _LINE.match(line)
        if match is None or match[2] == "defaults":
            continue
        if match[2] == "hydra":
            break
        parents = [*parents[: len(match[1]) // 2], match[2]]
        name = ".".join([*prefix.split(), *parents])
        if match[3] or match[4]:
            found.append(Setting(name, match[3] or "", match[4] or ""))
    return found


def _of_class(path: Path, group: str, own: list[Setting]) -> list[Setting]:
    """The settings that a YAML file does not list, with the defaults of its class."""
    schema = _SCHEMA.search(path.read_text())
    if schema is None:
        return []
    named = {setting.name for setting in own}
    values = _flat(OmegaConf.structured(SCHEMAS[schema[1]][schema[2]]), group)
    return [Setting(name, value, "") for name, value in values.items() if name not in named]


def _flat(node: DictConfig, prefix: str) -> dict[str, str]:
    """The values of a node in YAML's notation, under their full names."""
    found: dict[str, str] = {}
    for key in node:
        name = f"{prefix}.{key}"
        value = "???" if OmegaConf.is_missing(node, key) else node[key]
        if isinstance(value, DictConfig) and value:
            found |= _flat(value, name)
        else:
            found[name] = value if isinstance(value, str) else json.dumps(value, default=dict)
    return found


def _group(group: str) -> str:
    default = defaults().get(group)
    paths = sorted((CONF_DIR / group).glob("*.yaml"))
    said = {s.name: s.comment for path in paths for s in settings(path, group) if s.comment}
    parts = [f"### {group}", f"Default: `{group}={default}`." if default else "Default: none."]
    for path in paths:
        parts += [f"#### {group}={path.stem}", _escaped(first_comment(path))]
        if group in ("experiment", "hparams_search"):
            body = path.read_text().splitlines()[2:]
            parts.append("\n".join(["```yaml", *body, "```"]))
        elif rows := [*(own := settings(path, group)), *_of_class(path, group, own)]:
            parts.append(_table(rows, said))
        if base := _BASE.search(path.read_text()):
            parts.append(f"The rest as `{group}={base[1]}`.")
    return "\n\n".join(parts)


def defaults() -> dict[str, str]:
    """Return each group's option in `conf/train.yaml`."""
    text = (CONF_DIR / "train.yaml").read_text()
    chosen = dict(re.findall(r"^ +- (\w+): (\S+)", text, re.MULTILINE))
    del chosen["experiment"], chosen["hparams_search"]
    return chosen


def _table(rows: list[Setting], said: dict[str, str]) -> str:
    lines = ["| setting | value | |", "|---|---|---|"]
    for row in rows:
        value = f"`{row.value}`" if row.value else ""
        comment = row.comment or said.get(row.name, "")
        lines.append(f"| `{row.name}` | {value} | {_escaped(comment)} |")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return re.sub(r"([|*_<\[\]])", r"\\\1", text)
