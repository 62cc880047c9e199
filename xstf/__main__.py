"""``python -m xstf``: the command line."""

import sys

from xstf.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
