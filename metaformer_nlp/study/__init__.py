"""Studies: the protocol, the runner, the statistics and the report."""
