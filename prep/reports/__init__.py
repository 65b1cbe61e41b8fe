"""Reports on a shard set or a machine: color statistics, the inspection page, the doctor."""
