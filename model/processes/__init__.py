"""The processes of a run: which columns and replicas each holds, and how they start and stop."""
