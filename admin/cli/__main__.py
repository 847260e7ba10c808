"""`python -m admin.cli`: the program where its script is not installed."""

from admin.cli.main import main

main()
