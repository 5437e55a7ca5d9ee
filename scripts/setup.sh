#!/bin/sh
# Finds a Python that will do and hands over to setup.py.   Usage: sh scripts/setup.sh run|dev
set -eu

suits() {
    # A name on the path may be a shim that leads nowhere: only running it tells.
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' </dev/null >/dev/null 2>&1
}

# The one of the last set-up first, so that a second start looks no further.
for python in ${PYTHON:+"$PYTHON"} .venv/bin/python python3.13 python3.12 python3.11 python3.14 python3 python; do
    if suits "$python"; then
        exec "$python" scripts/setup.py "$@"
    fi
    if [ "$python" = "${PYTHON:-}" ]; then
        echo "taximeter: PYTHON=$PYTHON is not a Python from 3.11 to 3.14; unset it or name another" >&2
        exit 1
    fi
done
echo "taximeter: no Python from 3.11 to 3.14 found; install one (Debian, Ubuntu: apt install python3 python3-venv) or name it: make run PYTHON=/path/to/python" >&2
exit 1
