"""`python -m accord.testing.simulation`: what `accord-sim` is."""

from accord.testing.simulation.main import main

if __name__ == "__main__":
    raise SystemExit(main())
