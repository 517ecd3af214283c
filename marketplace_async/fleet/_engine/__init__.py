"""The engine of the jobs: driver, shards, journal and checkpoint."""
