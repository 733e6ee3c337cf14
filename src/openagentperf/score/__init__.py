"""Judgement: rows in, verdicts and the result out. Pure functions over columns; import from the module file."""
