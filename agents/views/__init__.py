"""Views: what the fold wrote, by customer, in Redis and in a compacted topic; derived, never decided."""
