"""A study as one page and figures: HTML and PNG, of plain values; knows no model and no plan."""
