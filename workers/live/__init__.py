"""Processes that read and publish live streams, each of which may hang or die alone."""
