"""What the client and the emulator cost, beside others that do the same: `nox -s bench`."""
