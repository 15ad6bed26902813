"""What is learnt from history: fitting of the risk model."""
