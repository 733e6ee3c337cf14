"""Text that looks like coding sessions, written by grammars of our own: no third party's text is in it."""
