"""Power meters, one module a source. They read; what the readings are worth is judged by score.energy."""
