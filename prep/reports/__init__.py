"""What a person reads about a shard set or a machine: color statistics, the inspection page, the doctor."""
