"""Reading within limits, writing files whole, and printing text that no terminal obeys."""
