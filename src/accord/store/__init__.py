"""One server's bytes: the contract (`port`), and the directory that keeps it."""
