"""What live streams need beyond files: their clock, their quality, their words. Pure: no process, no network."""
