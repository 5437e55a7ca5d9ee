"""What every folder may use: money and units, ids, the clock, refusals, settings."""
