"""What a training costs: memory, operations, seconds, threads."""
