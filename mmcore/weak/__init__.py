"""Labels for five tasks from what a page says: labeling functions that vote, and their sum."""
