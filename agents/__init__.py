"""Who does the work: engine, journal, clients, platform, channels, operations, command line."""
