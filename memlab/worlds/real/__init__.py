"""Published data sets as tasks. Each says where its data came from (`source`); none falls back to synthetic data."""
