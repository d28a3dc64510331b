"""What needs a GPU, or predicts one: the suite behind `make gpu`, compiler facts, and predicted times."""
