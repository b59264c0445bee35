"""`python -m pruning`."""

import sys

from pruning.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
