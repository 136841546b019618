"""What calls may cost: rates, slots, budgets, and where it is kept what was used."""
