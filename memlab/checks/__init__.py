"""Exercise checks: one module a notebook. A check calls your function and, when it is wrong, says which mistake it looks like."""
