"""The main job on published sample data, from an empty machine to a summary."""
