"""Benchmarks of the client and the emulator. Run them with `nox -s bench`."""
