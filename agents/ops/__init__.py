"""What operations see and do: topics, lag, dead letters."""
