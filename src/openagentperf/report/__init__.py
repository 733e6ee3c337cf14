"""Pages and pictures made of what a run folder or a set holds. Everything is inside the file: no script, no font, no network."""
