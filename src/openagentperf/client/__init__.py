"""The measured path to the endpoint: `endpoint` (where, TLS, request head), `clock` (stamps), `connection` (one socket)."""
