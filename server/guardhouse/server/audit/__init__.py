"""Reading ledgers: their files, the lines as they come, a line as text, and questions about them all."""
