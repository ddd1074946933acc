"""Restore live streams: cameras in, restored streams out, for weeks."""
