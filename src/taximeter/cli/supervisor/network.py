"""The port we serve on, ports for the engine hosts, and the question whether the gateway is ready."""

import asyncio
import errno
import random
import socket

from taximeter.kernel.errors import SetupError

# Below the range from which systems take the ports of outgoing connections, so that none of those can sit on ours.
HOST_PORTS = range(20_000, 32_000)
HOST_PORT_DRAWS_MAX = 100
PROBE_TIMEOUT_S = 2.0
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - where to reach what listens everywhere


def bind(host: str, port: int) -> socket.socket:
    """Take the port without listening: until a gateway does, callers are refused instead of kept waiting.

    Raises SetupError naming the variable to change.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        message = f"TAXIMETER_HOST={host!r} is not an address of this machine; correct or unset it"
        raise SetupError(message) from error
    # Without SO_REUSEADDR nobody else can bind at the same moment.  With it, connections of an earlier run that are
    # still closing do not count as using the port.  Whoever really listens there is found by both.
    for reuse in (0, 1):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        try:
            listener.bind(address)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE or reuse:
                raise SetupError(_refused(host, port, error)) from error
        else:
            return listener
    raise AssertionError


def allow_rebinding(listener: socket.socket) -> None:
    """To be called just before listening: connections inherit it, and one that is still closing then lets the next run bind."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def free_port() -> int:
    """A loopback port on which nobody listens now."""
    for port in random.sample(HOST_PORTS, HOST_PORT_DRAWS_MAX):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                probe.listen(1)
            except OSError:
                continue
            return port
    message = f"no free port between {HOST_PORTS.start} and {HOST_PORTS.stop} for the demo engines; free some or set TAXIMETER_DEMO=0"
    raise SetupError(message)


def local_url(host: str, port: int) -> str:
    """How programs on this machine reach what listens there."""
    reachable = ANY_ADDRESS.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


async def is_ready(host: str, port: int) -> bool:
    """Whether ``GET /readyz`` answers 200."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(ANY_ADDRESS.get(host, host), port)
            try:
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                status = await reader.readline()
            finally:
                writer.close()
    except OSError:
        return False
    return status.split()[1:2] == [b"200"]


def _refused(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; stop what uses it or choose another with TAXIMETER_PORT"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"port {port} is reserved for root; choose one above 1023 with TAXIMETER_PORT"
    return f"cannot listen on {host} port {port} ({error.strerror}); correct TAXIMETER_HOST and TAXIMETER_PORT"
