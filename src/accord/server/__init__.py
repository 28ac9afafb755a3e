"""HTTP: parse a request, ask the engine, render its result."""
