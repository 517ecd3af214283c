"""Shared by the tests: paths, served emulators, misbehaving servers and terminals."""
