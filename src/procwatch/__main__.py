"""`python -m procwatch`."""

from procwatch.cli import main

main()
