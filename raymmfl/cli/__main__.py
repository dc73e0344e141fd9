"""`python -m raymmfl.cli` is `raymmfl`."""

from raymmfl.cli import main

main()
