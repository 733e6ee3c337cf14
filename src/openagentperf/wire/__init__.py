"""The dialects as bytes: requests out, raw reads in, rows back. Pure: no clock, no socket, nothing kept between calls."""
