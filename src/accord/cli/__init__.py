"""The command line: one small file a command group, one renderer for text, one for JSON."""
