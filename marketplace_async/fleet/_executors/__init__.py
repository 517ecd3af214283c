"""Executors run the shards of a job: in this process, in others, or on a cluster."""
