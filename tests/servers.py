"""MLflow's servers for tests: begun, answered, ended with every process below them."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

PATIENCE_S = 240.0  # a server of several processes, on a machine that may have other work


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def begin(arguments: Sequence[str], port: int, log: Path) -> subprocess.Popen[bytes]:
    """Start `mlflow ARGUMENTS --port PORT`; returns once it answers."""
    with log.open("w") as output:
        server = subprocess.Popen(
            [Path(sys.executable).with_name("mlflow"), *arguments, "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            # its job runners serve language models; seven processes less
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            start_new_session=True,
        )
    until = time.monotonic() + PATIENCE_S
    while not _answers(port):
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < until, f"no answer: {log.read_text()}"
        time.sleep(0.5)
    return server


def end(server: subprocess.Popen[bytes], kill: bool = False) -> None:
    """End a server and every process that it began; with ``kill`` at once."""
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    for number in (signal.SIGKILL,) if kill else (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        _, alive = psutil.wait_procs(family, timeout=20)
        if not alive:
            break
    server.wait(timeout=20)
    assert not alive, f"left behind: {alive}"


def _answers(port: int) -> bool:
    address = f"http://127.0.0.1:{port}/health"
    with suppress(OSError), urllib.request.urlopen(address, timeout=5) as reply:
        return bool(reply.status == 200)
    return False
