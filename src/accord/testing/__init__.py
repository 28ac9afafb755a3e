"""What tests of Accord, and of programs over it, are made of: in-memory adapters and the store conformance suite."""
