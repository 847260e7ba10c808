"""The command line: `serve` runs a sandbox, everything else speaks to one that runs."""

import argparse
import json
import logging
import os
import sys
import threading
from typing import Any

from deploy.sandbox.client import ControlClient, ControlError

DEFAULT_PORT = 5600


def main(arguments: list[str] | None = None) -> int:
    """0 done, 1 refused or failed, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ControlError, OSError, ValueError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.sandbox", description="an emulated AWS")
    parser.add_argument("--url", default=os.environ.get("AWS_ENDPOINT_URL", f"http://127.0.0.1:{DEFAULT_PORT}"))
    commands = parser.add_subparsers(required=True)
    serve = _command(commands, "serve", _serve, "run a sandbox until it is interrupted")
    serve.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one")
    serve.add_argument("--seed", choices=("demo", "none"), default="none")
    serve.add_argument("--snapshot-seconds", type=float)
    serve.add_argument("--config", type=json.loads, default={}, help="JSON of settings, as GET /sandbox/config shows")
    serve.add_argument("--until-closed", action="store_true", help="end when standard input is closed")
    hashes = _command(commands, "hash", _hash, "SHA-256 of a volume's or snapshot's raw bytes")
    _place(hashes)
    write = _command(commands, "write", _write, "write as the guest of a volume would")
    _place(write)
    write.add_argument("offset", type=int)
    write.add_argument("text", help="what to write; - reads standard input")
    calls = _command(commands, "calls", _calls, "what was called, and how it ended")
    calls.add_argument("--clear", action="store_true")
    faults = _command(commands, "faults", _faults, "show, plant or clear faults")
    faults.add_argument("--clear", action="store_true")
    faults.add_argument("kind", nargs="?")
    faults.add_argument("settings", nargs="*", help="name=value, for instance operation=CreateSnapshot count=2")
    destroy = _command(commands, "destroy", _destroy, "let resources vanish behind everybody's back")
    _place(destroy, "+")
    boots = _command(commands, "boots", _boots, "how often an instance booted, and why")
    _place(boots)
    seed = _command(commands, "seed", _seed, "fill the sandbox: name=value of the seed, kind=demo or kind=bulk")
    seed.add_argument("settings", nargs="*")
    configure = _command(commands, "config", _config, "show or change settings: name=value")
    configure.add_argument("settings", nargs="*")
    _command(commands, "reset", _reset, "empty the sandbox")
    return parser


def _command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text)
    command.set_defaults(run=run)
    return command


def _place(parser: argparse.ArgumentParser, count: str | None = None) -> None:
    parser.add_argument("account")
    parser.add_argument("region")
    parser.add_argument("id", nargs=count)


def _values(pairs: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair}: expected name=value")
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
    for name in ("account", "region", "resource", "operation"):
        if name in values:
            values[name] = str(values[name])
    return values


def _show(value: Any) -> int:
    print(json.dumps(value, indent=1))
    return 0


def _serve(options: argparse.Namespace) -> int:
    from deploy.sandbox.start import build

    settings = dict(options.config)
    if options.snapshot_seconds is not None:
        settings["snapshot_seconds"] = options.snapshot_seconds
    logging.basicConfig(level=logging.WARNING)
    server, variables = build(options.port, settings, options.seed)
    for name, value in variables.items():
        print(f"export {name}={value}")
    sys.stdout.flush()
    if options.until_closed:
        threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
    return 0


def _end_with_input() -> None:
    """A test run that is killed takes its sandbox with it."""
    sys.stdin.buffer.read()
    os._exit(0)


def _hash(options: argparse.Namespace) -> int:
    print(ControlClient(options.url).sha256(options.account, options.region, options.id))
    return 0


def _write(options: argparse.Namespace) -> int:
    data = sys.stdin.buffer.read() if options.text == "-" else options.text.encode()
    ControlClient(options.url).write(options.account, options.region, options.id, options.offset, data)
    return 0


def _calls(options: argparse.Namespace) -> int:
    client = ControlClient(options.url)
    shown = client.ask("GET", "calls", recent=0)["counts"]
    if options.clear:
        client.clear_calls()
    return _show(shown)


def _faults(options: argparse.Namespace) -> int:
    client = ControlClient(options.url)
    if options.clear:
        client.clear_faults()
    if options.kind:
        client.fault(options.kind, **_values(options.settings))
    return _show(client.faults())


def _destroy(options: argparse.Namespace) -> int:
    ControlClient(options.url).destroy(options.account, options.region, *options.id)
    return 0


def _boots(options: argparse.Namespace) -> int:
    return _show(ControlClient(options.url).instance(options.account, options.region, options.id))


def _seed(options: argparse.Namespace) -> int:
    return _show(ControlClient(options.url).seed(**_values(options.settings)))


def _config(options: argparse.Namespace) -> int:
    client, changes = ControlClient(options.url), _values(options.settings)
    return _show(client.configure(**changes) if changes else client.ask("GET", "config"))


def _reset(options: argparse.Namespace) -> int:
    ControlClient(options.url).reset()
    return 0
