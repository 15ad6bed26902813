"""Stories as given/when/then files, and the runner that plays them on a stage: the pure core or a real broker."""
