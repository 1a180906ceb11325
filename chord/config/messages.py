"""Errors of Hydra and omegaconf, and our own, in one readable line."""

from __future__ import annotations

import dataclasses
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from chord.config.foreign_names import meant
from chord.config.location import CONF_DIR
from chord.config.overrides import parsed
from chord.config.plugins import folders
from chord.config.registry import SCHEMAS, SECOND
from chord.errors import ConfigError, first_line, suggest
from chord.io.extras import install
from chord.io.printing import ERROR, tell
from chord.io.reading import SETTINGS, read_bytes
from chord.rewards.base import Grader

EXTRAS = {
    "joblib": "joblib",
    "submitit_local": "submitit",
    "submitit_slurm": "submitit",
    "ray": "ray",
}
"""The extra of this package that brings each launcher."""


HELP, SETTINGS_SHOWN = "--help lists all", "--cfg job shows all"
"""Where all options and settings are."""

EXPECTED = (ConfigError, HydraException, OmegaConfBaseException, YAMLError, OSError)
"""What a user can mend. An `OSError` is of a disk, a file or a network, and names which."""


def stop(error: BaseException, command: str = "train") -> NoReturn:
    """Say what is wrong in one line and exit."""
    line = re.sub(r"\s*\n\s*", " ", one_line(error, command))
    tell(error, f"error: {line}")
    sys.exit(ERROR)


def one_line(error: BaseException, command: str = "train") -> str:
    """Setting, value, and what is allowed, from whatever Hydra or omegaconf raised.

    `command`: whose groups are suggested for a wrong name, `train` or `evaluate`.
    """
    for cause in _causes(error):
        if isinstance(cause, ConfigError):
            return str(cause)
    if isinstance(error, MissingConfigException):
        return _unknown_option(error)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: {_unreadable(error)}"
    for cause in _causes(error):
        if isinstance(cause, OmegaConfBaseException) and cause.key is not None:
            return _bad_key(cause, _typed(error), command)
    text = " ".join(str(error).split())
    if found := re.search(r"You must specify '(.+?)', e\.g, .* Available options: (.+)", text):
        options = suggest("", found[2].split(), where=HELP)
        return f"{found[1]}: has no option; give {found[1]}=OPTION{options}"
    for pattern, answer in ANSWERS:
        if found := re.search(pattern, text):
            return found.expand(answer)
    # As Hydra 1.3 has it, and 1.4.
    no_group = re.search(r"(?:Could not override|Default for) '([\w/@]+)'", text)
    if no_group:
        return f"{no_group[1]}: no such group{suggest(no_group[1], _groups(command), where=HELP)}"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return text


BEGINS = "begin that file with 'defaults: [/schema/GROUP/OPTION@_here_, _self_]' of its own group"

ANSWERS = (
    (
        r"In '(?:schema/)?(\S+?)': .*Invalid type assigned: (\w+) is not a subclass of (\w+)",
        rf"\1: an option's file refers to it, but is in the place of options of the kind \3; "
        rf"{BEGINS}",
    ),
    (
        r"Could not create instance of .*full_key: (\w+)",
        rf"\1: the file of the option does not say which class it is of; {BEGINS}",
    ),
    (
        r"An item is already at '.+?'\. Either remove \+ prefix: '(.+?)' Or add a second",
        r"+\1: is there already; leave out the plus, \1",
    ),
    (
        r"Multiple values for ([\w/@]+)\.",
        r"\1: an option is chosen already; leave out the plus on the command line, and write "
        r"'override /\1: OPTION' in a file",
    ),
    (
        r"In '(?:schema/)?(\S+?)': .*Merge error: (\w+) is not a subclass of (\w+)",
        r"\1: its values can't be merged into the option that is chosen, a \3; choose it instead, "
        r"in a file with 'override /GROUP: OPTION'",
    ),
    (
        r"Ambiguous value for argument '(.+?)' 1\. To use it as a list",
        r"\1: several values need -m; a list stands in brackets, [a,b]",
    ),
    (
        r"Sweeping over Hydra's configuration is not supported : '(.+?)'",
        r"\1: several values of a setting of Hydra's can't be swept; give one",
    ),
    (r"Sweep parameters '(.+?)' requires --multirun", r"\1: several values need -m"),
    (r"Could not delete from config\. '(.+?)' does not exist", r"~\1: no such setting"),
    (
        r"Could not delete '(.+?)'\. No match in the defaults list",
        r"~\1: is not the option that is chosen",
    ),
)
"""What Hydra says, and what is said instead."""


def _unreadable(error: OverrideParseException) -> str:
    if "=" not in error.override:
        return "must be SETTING=VALUE"
    name, _, value = error.override.partition("=")
    if "~/" in value:
        return f"~ is not your home directory here; use {name}={value.replace('~/', '$HOME/')}"
    if value.startswith("="):
        return f"has two equals signs; write {name}={value.lstrip('=')}"
    if value.endswith(","):
        return f"ends in a comma; write {name}={value.rstrip(',')}"
    reason = first_line(error).partition(" See http")[0].removeprefix("Error parsing override ")
    reason = (
        reason.removeprefix(f"'{error.override}'").partition(" expecting {")[0].strip()
        or "a character is not expected"
    )
    if (argument := _requoted(name, value)) is not None:
        return (
            f"can't be read ({reason}); the shell removes the outer quotes; write "
            f"{shlex.quote(argument)}"
        )
    return f"can't be read ({reason}); put quotes around a value with special characters"


def _requoted(name: str, value: str) -> str | None:
    """A setting of a text in quotes that Hydra reads; None if that is still not readable."""
    argument = f"{name}={QuotedString(text=value, quote=Quote.double).with_quotes()}"
    known = parsed(argument)
    is_call = re.fullmatch(r"\w+\(.*\)", value) is not None
    return None if value.startswith("[") or is_call or known is None else argument


def _causes(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _unknown_option(error: MissingConfigException) -> str:
    missing = error.missing_cfg_file or ""
    group, _, option = missing.rpartition("/")
    if error.options is None:
        asking = re.search(r"In '(.+?)': Could not load", str(error))
        return f"{missing}: no such config" + (f"; {asking[1]} names it" if asking else "")
    if group == "hydra/launcher" and option in EXTRAS:
        return f"{group}={option}: is not installed; {install(EXTRAS[option])}"
    if group == "reward" and re.fullmatch(r"[\w.]+:\w+", option):
        return (
            f"reward={option}: no such option; for a function of your own write reward=function "
            f"reward.function={option}"
        )
    if not group:
        return f"{option}: no such config{suggest(option, error.options, where=HELP)}"
    return f"{group}={option}: no such option{suggest(option, error.options, where=HELP)}"


def _typed(error: BaseException) -> tuple[str, str]:
    """The setting and the value that was typed and could not be merged."""
    match = re.search(r"(?:config use|override) [+~]*([^\s=]+)=(.*)", str(error))
    return (match[1], match[2].strip()) if match else ("", "")


KINDS = {
    "Float": "a number",
    "Integer": "a whole number",
    "Boolean": "true or false",
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "string": "a text",
    "str": "a text",
}
"""Types, as omegaconf and annotations name them."""


_SHOWN = 3
"""So many settings of one name are suggested."""
IN_DEFAULTS = "_dummy_"
"""What Hydra calls the place of a reference in a defaults list."""


def _bad_key(cause: OmegaConfBaseException, typed: tuple[str, str], command: str) -> str:
    key = str(cause.full_key or cause.key)
    name, value = typed if typed[0] else (key, "")
    given = f"{name}={value}" if typed[0] else name
    # What was typed may hold it, or lie below it.
    about = given if name == key else f"{given}: {key}"
    schema = cause.object_type
    names = [f.name for f in dataclasses.fields(schema)] if dataclasses.is_dataclass(schema) else []
    message = first_line(cause)
    if key == IN_DEFAULTS and (unknown := re.search(r"key '(.+?)' not found", message)):
        return f"${{{unknown[1]}}}: a defaults list refers to it, and it is no group"
    if missing := re.search(r"Missing mandatory value: (\S+)", message):
        return f"{missing[1]}: has no value; give it as {missing[1]}=VALUE"
    if "is not a subclass of" in message:
        group = SECOND.get(key, key)
        setting = group if group == key else f"{group}@{key}"
        options = [path.stem for path, _ in option_files(group)]
        return (
            f"{given}: an option is chosen as {setting}=OPTION{suggest(value, options, where=HELP)}"
        )
    if "does not support deletion" in message:
        return f"~{key}: a setting of an option can't be removed"
    if "is not Optional" in message:
        return f"{about}: must be {_wanted(schema, str(cause.key))}"
    if wanted := re.search(r"could not be converted to (\w+)|not a valid (bool)", message):
        return f"{about}: must be {KINDS.get(wanted[1] or wanted[2], wanted[1])}"
    if "ListConfig" in message:
        return f"{about}: must be a list, as in [a,b]"
    if re.search(r"Cannot (convert|assign)", message):
        return f"{about}: must be {_wanted(schema, str(cause.key))}"
    if cause.key not in names:
        if "." not in key:
            names = sorted({*names, *_groups(command)})
        elif not dataclasses.is_dataclass(schema):
            return f"{given}: {_addition(cause, given)}"
        elif len(owners := _owners(key)) == 1:
            option = getattr(schema, "option", "the chosen option")
            group, _, _ = key.partition(".")
            return f"{group}={option} has no {key}; add {group}={owners[0]}"
        if dataclasses.is_dataclass(schema) and not names:
            return f"{about}: the file of the option does not say which class it is of; {BEGINS}"
        names = [each for each in names if not each.startswith("_")]  # Hydra's _target_
        if known := meant(str(cause.key)):
            return f"{about}: no such setting{suggest('', (), known)}"
        hint = suggest(str(cause.key), names, _elsewhere(cause), where=SETTINGS_SHOWN)
        return f"{about}: no such setting{hint}"
    return f"{about}: {message}"


def _elsewhere(cause: OmegaConfBaseException) -> list[str]:
    """The settings of what was composed whose last part is the key that is unknown where it is."""
    if not isinstance(cause.parent_node, DictConfig):
        return []
    root, found = cause.parent_node._get_root(), []
    for group in root if isinstance(root, DictConfig) else ():
        options = root._get_node(group)
        if isinstance(options, DictConfig) and not options._is_none() and cause.key in options:
            found.append(f"{group!s}.{cause.key}")
    return sorted(found)[:_SHOWN]


def _owners(key: str) -> list[str]:
    """The options of a group that have a setting, `data.problems`, which the chosen one has not."""
    group, _, name = key.partition(".")
    return [
        option
        for option, schema in SCHEMAS.get(group, {}).items()
        if dataclasses.is_dataclass(schema) and name in {f.name for f in dataclasses.fields(schema)}
    ]


def _addition(cause: OmegaConfBaseException, given: str) -> str:
    """How a key is added to a mapping that has no such key."""
    element = cause.parent_node._metadata.element_type if cause.parent_node is not None else Any
    if isinstance(element, type) and issubclass(element, Grader):
        return f"a part is added with a plus, as in +reward@{cause.full_key}=exact"
    return f"a new key is added with a plus, +{given}"


def _wanted(schema: object, name: str) -> str:
    """What a field of a schema may be, in words."""
    if not isinstance(schema, type) or name not in (hints := get_type_hints(schema)):
        return "given, not null"
    kinds = [kind for kind in get_args(hints[name]) or [hints[name]] if kind is not type(None)]
    if get_origin(hints[name]) is list:
        return "a list, as in [a,b]"
    if get_origin(hints[name]) is dict:
        return "settings, as in {a: 1}"
    return KINDS.get(getattr(kinds[0], "__name__", ""), "given, not null")


def _groups(command: str) -> list[str]:
    """The groups of a command."""
    text = (CONF_DIR / f"{command}.yaml").read_text(encoding="utf-8")
    names = [*GROUP_ORDER, *(f"{group}@{name}" for name, group in SECOND.items())]
    return [name for name in names if re.search(rf"^ +- {name}: ", text, re.M)]


# The help follows the flow of a train step.
GROUP_ORDER = ["experiment", *SCHEMAS, "hparams_search"]


def option_files(group: str, own: Sequence[Path] = ()) -> list[tuple[Path, str]]:
    """The files of a group's options, and where each comes from if it isn't one of ours."""
    places = [(CONF_DIR, "")]
    places += [(path, f" ({name})") for name, paths in folders().items() for path in paths]
    places += [(path, f" ({path})") for path in own]
    return [
        (option, origin)
        for path, origin in places
        for option in sorted((path / group).glob("*.yaml"))
    ]


def first_comment(path: Path) -> str:
    """The line that describes an option: its file's first comment."""
    try:
        text = read_bytes(path, SETTINGS).decode(errors="replace")
    except (OSError, ValueError):
        return "(can't be read)"
    for line in text.splitlines():
        if line.startswith("# ") and not line.startswith("# @package"):
            return line.removeprefix("# ")
    return ""
