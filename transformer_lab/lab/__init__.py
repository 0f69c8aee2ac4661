"""The lab: one thread that trains, the runs on disk, and what the page and the CLI ask for."""
