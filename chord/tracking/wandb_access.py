"""How W&B is reached: its package, its settings, a key, and the server."""

from __future__ import annotations

import netrc
import os
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from chord.errors import ConfigError, first_line
from chord.tracking.base import command
from chord.tracking.server import refuse_settings_here

PROBE_SECONDS = 2.0
SERVICE_SECONDS = 20.0  # limit for W&B's process to end once everything is uploaded or given up
API_SECONDS = 60  # limit for a page of runs or one run's history
# W&B's own address, and the one behind it, under which older installations stored their key.
PUBLIC_HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")


def connect(entity: str, *, timeout: float = API_SECONDS) -> Any:
    """Connect to W&B's API without ever prompting. `timeout`: seconds per request.

    Raises ConfigError if there is no key or no connection.
    """
    wandb = import_wandb()
    session = open_session(wandb)
    key = api_key(session)
    if key is None:
        raise ConfigError(f"no API key found; run {command('wandb')} login first")
    if not reachable(session.base_url):
        raise ConfigError(f"no connection to {session.base_url}")
    overrides = {"entity": entity, "base_url": session.base_url}
    try:
        return wandb.Api(overrides, timeout=timeout, api_key=key)
    except Exception:  # the caller says what went wrong; W&B would end its process without a limit
        end_service()
        raise


def unreachable() -> str:
    """Return why W&B cannot be used, as `tracking.mode=auto` decides it; empty if it can."""
    wandb = import_wandb()
    session = open_session(wandb)
    if session.mode == "disabled":
        return "disabled by WANDB_MODE or `wandb disabled`"
    return offline_reason("auto", session, api_key(session))


def import_wandb() -> Any:
    if "wandb" not in sys.modules:
        # W&B's error telemetry uses another connection, which would delay the exit by 20 s in a
        # network that drops packets. A user's own setting takes precedence.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    # Treat an empty variable as unset; W&B would take it as a value.
    for name in [name for name, value in os.environ.items() if name.startswith("WANDB_")]:
        if not os.environ[name].strip():
            del os.environ[name]
    # It takes seconds to load, and runs without W&B do without.
    import wandb

    return wandb


def check_variables(wandb: Any) -> None:
    """Raise a one-line ConfigError for a variable that W&B cannot use."""
    for name, value in sorted(os.environ.items()):
        if not name.startswith("WANDB_"):
            continue
        try:
            wandb.Settings(silent=True).update_from_env_vars({name: value})
        except (ValueError, wandb.errors.Error) as error:
            # pydantic's message has several lines, the last of them a URL.
            wrong: list[dict[str, Any]] = getattr(error, "errors", list)()
            said = wrong[0]["msg"].removeprefix("Value error, ") if wrong else first_line(error)
            shown_value = "..." if "KEY" in name else value
            raise ConfigError(f"{name}={shown_value}: {said}") from None


def open_session(wandb: Any) -> Any:
    """The settings from W&B's files and the environment; raises a one-line ConfigError."""
    refuse_settings_here()
    check_variables(wandb)
    try:
        return wandb.setup(wandb.Settings(silent=True)).settings
    except (ValueError, wandb.errors.Error) as error:
        raise ConfigError(f"W&B's settings: {' '.join(str(error).split())}") from None


def offline_reason(mode: str, session: Any, key: str | None) -> str:
    """Why this run must be offline; empty if it can be online."""
    if session.mode in ("offline", "dryrun"):
        return "set by WANDB_MODE or `wandb offline`"
    if mode == "offline":
        return "tracking.mode=offline"
    if key is None and not session.identity_token_file:
        return "no API key found"
    if not reachable(session.base_url):
        return f"no connection to {session.base_url}"
    return ""


def api_key(session: Any) -> str | None:
    """The key from the environment, W&B's settings or netrc.

    W&B's own login is not used, because it prompts on the terminal if it finds no key.
    """
    if session.api_key:  # WANDB_API_KEY, or a settings file
        return str(session.api_key)
    host = urlsplit(session.base_url).netloc
    hosts = PUBLIC_HOSTS if host in PUBLIC_HOSTS else (host,)
    candidates = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    for path in (Path(name).expanduser() for name in candidates if name):
        try:
            entries = netrc.netrc(path)
        except (OSError, netrc.NetrcParseError):
            continue
        for name in hosts:
            if (found := entries.authenticators(name)) and found[2]:
                return found[2]
    return None


def reachable(url: str) -> bool:
    """Whether the server, or the proxy to it, accepts a connection within two seconds."""
    target = urlsplit(url)
    proxy = getproxies().get(target.scheme)
    if proxy and not proxy_bypass(target.hostname or ""):
        target = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    port = target.port or (80 if target.scheme == "http" else 443)
    answered = threading.Event()

    def probe() -> None:
        try:
            socket.create_connection((target.hostname or "", port), timeout=PROBE_SECONDS).close()
        except OSError:
            return
        answered.set()

    # In a thread, because a name lookup has no time limit.
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return answered.is_set()


def end_service(exit_code: int = 0) -> None:
    """`wandb.teardown()` which surely ends.

    W&B's process can miss the word to end if a request was given up just before, and W&B would then
    wait for it without a limit: after `SERVICE_SECONDS` it is terminated.
    """
    import wandb
    from wandb.sdk import wandb_setup

    # None of this is public: where it is not there, nothing is terminated.
    process: Any = wandb_setup
    for name in ("_singleton", "_connection", "_proc", "_process"):
        process = getattr(process, name, None)
    watch = threading.Timer(SERVICE_SECONDS, getattr(process, "terminate", lambda: None))
    watch.daemon = True
    watch.start()
    # It exits if its process ended with an error, or was terminated.
    with suppress(SystemExit):
        wandb.teardown(exit_code)
    watch.cancel()
