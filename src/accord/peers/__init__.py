"""The other servers: the contract (`port`), and the stream that keeps it."""
