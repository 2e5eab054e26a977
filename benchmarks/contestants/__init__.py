"""The same networks and the same training step: ours, and as users of other codebases write them."""
