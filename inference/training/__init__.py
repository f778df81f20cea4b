"""Training and evaluation: data in, weights and tables out. Nothing imports this at run time."""
