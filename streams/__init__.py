"""What an event means: a pure function from a state and a record to a state and outputs."""
