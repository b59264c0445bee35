"""What an answer counts for: one task's kind of judgement a file, as sums over samples."""
