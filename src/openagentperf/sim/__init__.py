"""A simulated serving node: pure parts (cost, kvcache, replica), and the same behind a real socket (serve). faulty is its evil twin."""
