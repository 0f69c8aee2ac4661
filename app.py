"""`python app.py` is `transformer-lab serve`, with the same options."""

import sys

from transformer_lab.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["serve", *sys.argv[1:]]))
