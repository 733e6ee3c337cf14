"""The corpus code with files: native sets, imports, generation, and the compiled corpus that a run replays."""
