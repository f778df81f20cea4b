"""Training and evaluation; nothing imports this at run time."""
