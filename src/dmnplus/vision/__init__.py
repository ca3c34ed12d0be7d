"""From picture files to grids of regions: reading, convolutional networks, and the store of features on disk."""
