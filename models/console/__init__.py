"""What long work says and is told: progress, errors, stopping, units."""
