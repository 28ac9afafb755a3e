"""Measurements, side by side with a peer in the same run: `python -m bench --help`, or `make bench`."""
