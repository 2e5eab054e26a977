"""Pictures of what a trained network computes, one file for each kind; `table` lists them."""
