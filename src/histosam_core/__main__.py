"""`python -m histosam_core` is the `histosam` command."""

from histosam_core.cli.app import main

main()
