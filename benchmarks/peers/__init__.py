"""The same networks and the same training step, written as the users of other codebases write them."""
