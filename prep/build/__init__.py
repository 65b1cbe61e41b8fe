"""Sources to shard sets: plan, jobs, resuming, verify, repair, adopt."""
