"""Training under the paper's protocol, and what a run leaves behind."""
