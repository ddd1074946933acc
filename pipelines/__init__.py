"""What a user runs: the wiring, the command line, progress and exit codes."""
