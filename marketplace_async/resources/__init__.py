"""One file for each noun of the API: its record on top, its collection below."""
