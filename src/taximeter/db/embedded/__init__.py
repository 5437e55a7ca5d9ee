"""The PostgreSQL that ships with Taximeter: binaries from a wheel, started and stopped by us.

server    initdb, start, stop, and what to do about what an earlier process left behind
place     where data, binaries and socket live, and as whom the server runs
lock      one process per folder
launch    a script: drop privileges, tie the child's life to ours, exec
"""

from taximeter.db.embedded.lock import FolderLock
from taximeter.db.embedded.place import make_home
from taximeter.db.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "FolderLock", "make_home"]
