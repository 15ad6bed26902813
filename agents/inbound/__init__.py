"""How interactions come in: published sample data, files, a publisher in the contract's form."""
