"""Sources to shard sets: plan, jobs, worker processes, resume, verify, repair, adopt."""
