"""The live table of `guardhouse top`: a sliding window over the ledger's entries, and its text."""
