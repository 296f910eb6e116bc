"""What a hop through the relay costs, measured against a bare relay in the same run."""
