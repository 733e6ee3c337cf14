"""Every row that reaches disk. One file per noun; import from the file, so that a name has one import path."""
