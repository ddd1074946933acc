"""Train networks on degraded crops of clean images; needs torch only."""
