"""Thousands of clips over one machine or a cluster: every one ends done, or quarantined with a reason."""
