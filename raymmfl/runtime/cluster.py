"""Connect to Ray: a cluster of one's own on this machine, or an existing one by its address."""

import contextlib
import logging
import signal
import socket
import threading

import ray

from raymmfl.errors import ResourceError
from raymmfl.runtime import TOKEN


def connect(address: str | None) -> bool:
    """Connect to Ray unless this process is connected; True if a local cluster was started.

    The dashboard and usage statistics stay off and Ray's token authentication on. Ray's own
    messages go to its session's log folder.

    Raises:
        ResourceError: if the cluster at the address does not answer.
    """
    if ray.is_initialized():
        return False
    if address is not None:
        _knock(address)
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = address or "this machine"
        raise ResourceError(f"no Ray cluster answers at {where}: {error}") from None
    _guard_token()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_terminate)  # Ray's own handler ends the process at once
    return address is None


def _knock(address: str) -> None:
    """Whether anything listens at ``host:port``; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return  # "auto" and the like, which Ray resolves itself
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ResourceError(
            f"no Ray cluster answers at {address}: {error}; start one with `ray start --head`, "
            f"or leave --address out"
        ) from None


def _guard_token() -> None:
    """Ray writes its token readable for everyone; whoever has it runs code as this user."""
    with contextlib.suppress(OSError):
        if TOKEN.is_file() and TOKEN.stat().st_mode & 0o077:
            TOKEN.chmod(0o600)
