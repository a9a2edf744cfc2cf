"""Networks: plain modules, and the batched form that trains many at once."""
