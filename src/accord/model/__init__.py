"""Values and rules, pure: no clock, no randomness, no files, no network. Everything here can be tested with values alone."""
