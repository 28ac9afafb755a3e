"""Whole servers on a virtual clock, a simulated network and simulated disks: any run follows from its seed (see docs/simulation.md)."""
