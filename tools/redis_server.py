"""See to it that the tests have a redis-server: install Debian's package, if we may and it is missing.

`python tools/redis_server.py`. It never fails: tests that need a server say that they are skipped.
"""

import os
import shutil
import subprocess
from pathlib import Path

SERVERS = ("redis-server", "valkey-server")
LISTS = Path("/var/lib/apt/lists")
# RUNLEVEL 1 tells the package to start no daemon: the tests start servers of their own.
QUIETLY = {**os.environ, "RUNLEVEL": "1", "DEBIAN_FRONTEND": "noninteractive"}
INSTALL = ("apt-get", "install", "-qq", "--no-install-recommends", "redis-server")
SKIPPED = "no redis-server: the tests that need one will be skipped; on Debian: apt-get install redis-server"


def main() -> None:
    """Install it if need be; print one line if there is none in the end."""
    if not found() and os.geteuid() == 0 and shutil.which("apt-get"):
        install()
    if not found():
        print(SKIPPED)


def found() -> bool:
    """Whether a server can be started."""
    return any(shutil.which(server) for server in SERVERS)


def install() -> None:
    """Install the package, and stop the daemon in case it started one all the same."""
    if not any(LISTS.glob("*_Packages*")):
        quietly("apt-get", "update", "-qq")
    if quietly(*INSTALL) and shutil.which("service"):
        quietly("service", "redis-server", "stop")


def quietly(*command: str) -> bool:
    """Whether *command* went well. What it says is not shown: what matters is whether there is a server."""
    return subprocess.run(command, env=QUIETLY, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    main()
