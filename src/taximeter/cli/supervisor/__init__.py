"""The family of processes behind ``taximeter serve``: started in order, restarted when they die, stopped in order.

server     the walk from settings to ready to stopped
family     children that are kept alive until they are told to stop
child      one process: its output, its end
network    the port we serve on, ports for the engine hosts, the readiness probe
demo       the demo project and the file that tells how to use it
state      what other commands may know about a running server
"""

from taximeter.cli.supervisor.server import Options, Server

__all__ = ["Options", "Server"]
