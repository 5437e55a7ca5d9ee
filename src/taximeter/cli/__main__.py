"""``python -m taximeter.cli``: how the supervisor starts its children."""

import sys

from taximeter.cli import main

if __name__ == "__main__":
    sys.exit(main())
