"""How long work that must not be in anybody's way rests after a piece of it."""

from __future__ import annotations


def pause_s(read_bytes: int, took_s: float, *, bytes_per_s: float, share: float) -> float:
    """The shortest rest after `read_bytes` were read in `took_s`, with which both hold of the piece and its rest together: no more than
    `bytes_per_s`, and no more than `share` (above 0, at most 1) of the time spent working."""
    for_the_rate = read_bytes / bytes_per_s - took_s
    for_the_share = took_s / share - took_s
    return max(0.0, for_the_rate, for_the_share)
