"""`python -m streams` is `loy`."""

from streams.cli import main

main()
