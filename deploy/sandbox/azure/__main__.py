"""`python -m deploy.sandbox.azure serve`: the emulated Azure on a port of the loopback interface, over HTTPS."""

import argparse
import json
import os
import socket
import sys
import tempfile
import threading
from pathlib import Path

from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Gateway_10, Server

from deploy.sandbox.azure import seed, tls
from deploy.sandbox.azure.app import Application, Lost
from deploy.sandbox.azure.state import World

HOST = "127.0.0.1"  # the control plane writes disks and destroys resources for whoever asks
THREADS = 16


class Cutting(Gateway_10):
    """Cuts the connection where the application loses a request or an answer."""

    def respond(self) -> None:
        try:
            super().respond()
        except Lost:
            self.req.close_connection, self.req.sent_headers = True, True
            self.req.conn.socket.shutdown(socket.SHUT_RDWR)


def main() -> None:
    """Serve until interrupted; the first lines printed are the environment with which Snapfleet reaches it."""
    parser = argparse.ArgumentParser(prog="python -m deploy.sandbox.azure", description=__doc__)
    serve = parser.add_subparsers(required=True).add_parser("serve", help="run until interrupted")
    serve.add_argument("--port", type=int, default=0, help="0 takes a free one")
    serve.add_argument("--folder", type=Path, help="where the certificates go; default: a temporary folder")
    serve.add_argument("--seed", choices=("demo", "none"), default="none")
    serve.add_argument("--config", type=json.loads, default={}, help="JSON of settings")
    serve.add_argument("--until-closed", action="store_true", help="end when standard input is closed")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="sandbox-azure-"))
    folder.mkdir(parents=True, exist_ok=True)
    ca, certificate, key = tls.make(folder)
    port = options.port or _free_port()
    world, base = World(options.config), f"https://{HOST}:{port}"
    server = Server((HOST, port), Application(world, base), numthreads=THREADS, request_queue_size=256)
    server.gateway = Cutting
    server.ssl_adapter = BuiltinSSLAdapter(str(certificate), str(key))
    if options.seed == "demo":
        seed.plant(world, {"kind": "demo"})
    for name, value in (("ENDPOINT", base), ("AUTHORITY", base), ("CA", ca)):
        print(f"export SNAPFLEET_AZURE_{name}={value}")
    sys.stdout.flush()
    if options.until_closed:
        threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        server.start()
    except KeyboardInterrupt:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _end_with_input() -> None:
    """A test run that is killed takes its emulator with it."""
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
