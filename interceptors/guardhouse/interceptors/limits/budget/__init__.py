"""Budgets: so many units for a holder in an hour, a day or a month."""
