"""The processes of a run: which columns and replicas each holds, how they start, how they stop."""
