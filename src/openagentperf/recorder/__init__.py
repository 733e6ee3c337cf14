"""The recording proxy: between an agent and an endpoint, forwarding every read at once, writing down what went by off that path."""
