"""How good is a model: metrics, blind baselines, intervals, gold labels and the report card."""
